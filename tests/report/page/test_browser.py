"""The report in a real browser: quiet, self-contained, and its tables and filters work."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelbench.analysis.load import Load
from accelbench.report.page.document import write_page
from accelbench.report.plots import write_plots
from accelbench.store.records import InferRoundRecord

from ...analysis.records import rows_of
from .test_document import EVIL, HOST, request, summary

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a headless Chromium that has opened a report of two endpoints, one of which answers with markup."""
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("report")
    options = Options()
    options.binary_location = str(CHROMIUM)
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    driver = selenium.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            driver.get(f"file://{_report(folder)}")
        driver.downloads = folder / "downloads"
        yield driver
    finally:
        driver.quit()


def _report(folder: Path) -> Path:
    requests = [request(n, e2e_s=1.0 + n, article=f"Article {n % 2}") for n in range(6)]
    failed = {"class_": "http_5xx", "http_status": 500, "error_text": "<b>overloaded</b>", "e2e_s": None}
    requests += [request(n, endpoint="b", answer=EVIL, **(failed if n == 3 else {})) for n in range(6)]
    requests += [request(n, answer=f"answer {n}") for n in range(6, 40)]
    rounds = [InferRoundRecord(name, "one", 1, "measured", None, "2026-01-02T11:00:00", host=HOST) for name in "ab"]
    shown = summary(requests, rounds=rounds, inference=rows_of(rounds, requests, {"one": Load("one", 1)}, None, 60.0))
    write_plots(folder / "plots", replace(shown))
    write_page(folder, shown)
    return folder / "report.html"


def find_all(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def test_the_console_is_silent_and_nothing_is_asked_of_the_network(browser: Any) -> None:
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("file:", "data:", "blob:", "chrome:")) for url in asked), asked


def test_markup_of_a_model_is_text(browser: Any) -> None:
    assert browser.execute_script("return document.querySelectorAll('#requests script, #requests b').length") == 0
    assert "<script>" in browser.execute_script("return document.getElementById('requests').textContent")


def test_every_table_sorts_by_every_column_up_and_down(browser: Any) -> None:
    tables = find_all(browser, "table[id]")
    assert tables
    for table in tables:
        for header in table.find_elements("css selector", "thead th button"):
            for direction in ("ascending", "descending"):
                browser.execute_script("arguments[0].click()", header)
                assert header.find_element("xpath", "..").get_attribute("aria-sort") == direction


def test_a_link_opens_what_is_folded(browser: Any) -> None:
    browser.execute_script("location.hash = '#latency-laws'")
    opened = "return document.getElementById('latency-laws').closest('details').open"
    assert browser.execute_async_script(f"setTimeout((done) => done((() => {{ {opened} }})()), 50, arguments[0])")


def test_numbers_sort_as_numbers(browser: Any) -> None:
    values = browser.execute_script("""
        const table = document.createElement('table');
        table.innerHTML = '<thead><tr><th>n</th></tr></thead><tbody>' +
            ['9', '10', '–', '1,5'].map((n) => `<tr><td data-sort="${n.replace(',', '')}">${n}</td></tr>`).join('') +
            '</tbody>';
        sortBy(table, 0, table.tHead.rows[0].cells[0]);
        return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
    """)
    assert values == ["9", "10", "1,5", "–"]


def test_filters_leave_what_fits(browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    total = len(find_all(browser, "#requests > details"))
    browser.execute_script("document.getElementById('all-requests').open = true")
    for select in find_all(browser, "#filters select"):
        choice = Select(select)
        for option in [option.text for option in choice.options[1:]]:
            choice.select_by_visible_text(option)
            shown = browser.execute_script(
                "return [...document.querySelectorAll('#requests > details')].filter((d) => !d.hidden)"
                f".map((d) => d.dataset['{select.get_attribute('name')}'])"
            )
            assert shown and set(shown) == {option}
        choice.select_by_index(0)
    words = find_all(browser, "#filters input")[0]
    words.send_keys("no such words anywhere")
    assert f"0 that fit, {total} in all" in browser.find_element("id", "filtered").text
    words.clear()
    words.send_keys(" ")


def sized(browser: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_its_place_without_a_hint(browser: Any, width: int) -> None:
    sized(browser, width, 700)
    wide, without_hint = browser.execute_script("""
        const over = [...document.querySelectorAll('main *')].filter(
            (e) => e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX));
        return [document.documentElement.scrollWidth,
                over.filter((e) => getComputedStyle(e).backgroundImage === 'none').length];
    """)
    assert wide <= width and without_hint == 0


def test_the_first_screen_ends_with_the_first_charts(browser: Any) -> None:
    sized(browser, 1280, 700)
    bottoms = browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map((e) => e.getBoundingClientRect().bottom + scrollY)"
    )
    assert len(bottoms) == 2 and max(bottoms) <= 700


def test_the_keyboard_reaches_the_first_table_soon(browser: Any) -> None:
    stops = browser.execute_script("""
        const all = [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"], table')];
        return all.findIndex((e) => e.tagName === 'TABLE');
    """)
    assert 0 < stops <= 60


def test_the_first_page_of_print_is_the_first_screen_in_8_points_or_more(browser: Any) -> None:
    sized(browser, 703, 964)  # the smaller of Letter and A4, without margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    height, smallest_pt = browser.execute_script("""
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), sizes = [];
        while (texts.nextNode()) {
            const of = texts.currentNode.parentElement, svg = of.closest('svg');
            if (!texts.currentNode.textContent.trim() || !of.getClientRects().length) continue;
            const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
            sizes.push(0.75 * scale * parseFloat(getComputedStyle(of).fontSize));
        }
        return [document.querySelector('.first').getBoundingClientRect().height, Math.min(...sizes)];
    """)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert height <= 964 and smallest_pt >= 8


def test_charts_follow_a_dark_page(browser: Any) -> None:
    drawn = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        drawn.append(
            browser.execute_script(
                "return ['.chart text', '.chart circle', '.plot text'].map((s) => "
                "getComputedStyle(document.querySelector(s)).fill)"
            )
        )
    assert all(light != dark for light, dark in zip(*drawn, strict=True))


def test_requests_come_25_at_a_time_failures_first(browser: Any) -> None:
    browser.execute_script("document.getElementById('all-requests').open = true")
    counted = "return [...document.querySelectorAll('#requests > details')].filter((d) => !d.hidden).length"
    total = len(find_all(browser, "#requests > details"))
    assert browser.execute_script(counted) == 25 < total
    assert find_all(browser, "#requests > details")[0].get_attribute("class") == "failed"
    browser.execute_script("document.getElementById('next').click()")
    assert browser.execute_script(counted) == total - 25
    assert f"26 to {total} of {total}" in browser.find_element("id", "filtered").text
    browser.execute_script("document.getElementById('previous').click()")
