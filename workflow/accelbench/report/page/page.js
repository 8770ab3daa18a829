"use strict";
// Tables sort and download, requests filter page by page, links open what is folded. Without this script the page
// shows the same, unsorted and whole.

function key(cell) {
  const sort = cell.dataset.sort ?? cell.textContent.trim();
  return sort === "" || isNaN(sort) ? sort : Number(sort);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return a.localeCompare(b, "en", { numeric: true });
}

function sortBy(table, column, header) {
  const up = header.getAttribute("aria-sort") !== "ascending";
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(key(a.cells[column]), key(b.cells[column])) * (up ? 1 : -1));
  table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}

function csvCell(text) {
  const said = text.replace(/\s+/g, " ").trim();
  const harmless = /^[=+@\t-]/.test(said) && isNaN(said) ? "'" + said : said; // never a formula
  return /[",\n]/.test(harmless) ? '"' + harmless.replaceAll('"', '""') + '"' : harmless;
}

function download(table) {
  const lines = [...table.rows].map((row) => [...row.cells].map((cell) => csvCell(cell.textContent)).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = table.id + ".csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const table of document.querySelectorAll("table[id]")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, column, header));
    header.append(button);
  });
  const button = document.createElement("button");
  button.type = "button";
  button.className = "csv";
  button.textContent = "CSV";
  button.title = "Download this table";
  button.addEventListener("click", () => download(table));
  table.closest("figure").querySelector("figcaption").append(button);
}

function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  for (let within = target; within; within = within.parentElement) if (within.tagName === "DETAILS") within.open = true;
  target?.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

const filters = document.getElementById("filters");
if (filters) {
  const requests = [...document.querySelectorAll("#requests > details")];
  const count = document.getElementById("filtered");
  for (const select of filters.querySelectorAll("select")) {
    const values = [...new Set(requests.map((request) => request.dataset[select.name]))];
    select.append(...values.map((value) => new Option(value, value)));
  }
  const PAGE = 25;
  let first = 0;
  const apply = () => {
    const asked = [...filters.querySelectorAll("select")].filter((select) => select.value);
    const words = filters.querySelector("input").value.toLowerCase();
    const fitting = requests.filter(
      (request) =>
        asked.every((select) => request.dataset[select.name] === select.value) &&
        (!words || request.textContent.toLowerCase().includes(words)),
    );
    const shown = new Set(fitting.slice(first, first + PAGE));
    for (const request of requests) request.hidden = !shown.has(request);
    previous.disabled = !first;
    next.disabled = first + PAGE >= fitting.length;
    const place = fitting.length ? `${first + 1} to ${first + shown.size} of ` : "";
    count.textContent = `${place}${fitting.length} that fit, ${requests.length} in all`;
  };
  const turn = (to) => {
    first = to;
    apply();
  };
  const [previous, next] = ["previous", "next"].map((id) => document.getElementById(id));
  previous.addEventListener("click", () => turn(first - PAGE));
  next.addEventListener("click", () => turn(first + PAGE));
  for (const event of ["input", "change"]) filters.addEventListener(event, () => turn(0));
  filters.hidden = false;
  apply();
}
