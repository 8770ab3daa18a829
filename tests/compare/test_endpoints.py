"""Endpoints and sweeps compared from their files alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers import keep_imported
from accelbench.compare.tables import endpoints_text
from accelbench.errors import UserError
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.journal import Journal
from accelbench.inference.client.load import Attempt
from accelbench.store.files import write_json, write_jsonl
from accelbench.store.records import RequestRecord

from ..analysis.records import asked_rounds, failed, request, spanned
from ..inference.endpoint_stand_in import tokens
from ..report.test_tables import cells_of
from .importers.results import DETAILS, steady, vllm, written

SIDE = {
    "name", "load", "n", "ok", "latency_s", "output_tok_per_s", "total_tok_per_s", "completion_tokens_mean",
    "prompt_tokens_mean", "law", "notes", "metrics",
}  # fmt: skip
LATENCY = {"n", "mean", "median", "min", "max", "p90", "p95", "p99"}
LAW = {"method", "a_s", "a_ci", "b_s_per_tok", "b_ci", "decode_tok_per_s", "decode_ci", "r2", "tokens_seen", "n", "why"}
PAIR = {
    "a", "b", "load", "paired", "ratio_of_means", "ratio_ci", "paired_diff_s", "paired_diff_ci", "p_value",
    "crossover_tokens", "crossover_ci", "crossover_kind", "crossover_extrapolated", "notes", "metrics", "verdict",
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def side(folder: str, *requests: RequestRecord) -> Path:
    write_jsonl(Path(folder) / "load" / "r1" / "requests.jsonl", list(requests))
    return Path(folder)


def measured(name: str, requests: Sequence[RequestRecord], host: str = "box") -> Path:
    """Write the rounds of an endpoint as the workflow does, with the host of each."""
    for cell, number in dict.fromkeys((r.cell, r.round) for r in requests):
        folder = Path(name) / cell / f"r{number}"
        write_jsonl(folder / "requests.jsonl", [r for r in requests if (r.cell, r.round) == (cell, number)])
        write_json(folder / "run.json", {"host": {"name": host}})
    return Path(name)


def comparison(sides: Sequence[Path]) -> str:
    return endpoints_text(compare_endpoints(sides), full=True)


def document(*sides: Path) -> dict[str, Any]:
    """Return the JSON of a comparison, as a program reads it."""
    return dict(orjson.loads(orjson.dumps(compare_endpoints(sides).document)))


def ratio_in(table: str) -> str:
    """Return what stands beside the second side's typical latency."""
    return list(cells_of(table)["typical latency (s), 95 % interval"])[2]


# --- sides ---------------------------------------------------------------------------------------------------


def test_sides_are_compared_on_the_same_prompts_with_the_first_as_baseline() -> None:
    one = measured("a/one", [request(e2e_s=1.0), request(key="p2", e2e_s=50.0)])
    two = measured("a/two", [request(endpoint="two", e2e_s=2.0)])
    table = comparison([one, two])
    assert cells_of(table)["metric"] == ["one", "two"]
    assert ratio_in(table) == "2.00 (no interval)"


def test_prompts_that_one_failed_count_for_neither_even_of_sides_that_were_not_interleaved() -> None:
    one = side("one", request(e2e_s=1.0), request(key="long", e2e_s=50.0), request(key="own", e2e_s=4.0))
    two = side("two", request(endpoint="two", e2e_s=2.0), failed(endpoint="two", key="long"))
    assert ratio_in(comparison([one, two])) == "1.00 (no interval)"  # the typical latency of 1 and 4 s is 2 s
    assert document(one, two)["pairs"][0]["ratio_of_means"] == pytest.approx(2 / 2.5)


def test_files_are_taken_as_well_as_folders() -> None:
    files = [side(name, request(endpoint=name)) / "load/r1/requests.jsonl" for name in ("one", "two")]
    assert cells_of(comparison(files))["metric"] == ["one/…/r1", "two/…/r1"]


def test_sides_of_one_name_are_told_apart_by_their_path() -> None:
    sides = [side("monday/one", request(e2e_s=1.0)), side("friday/one", request(e2e_s=3.0))]
    table = comparison(sides)
    assert cells_of(table)["metric"] == ["monday/one", "friday/one"]
    assert ratio_in(table).startswith("3.00")


def test_two_single_loads_of_different_names_are_compared() -> None:
    table = comparison([side("one", request(cell="x")), side("two", request(endpoint="two", cell="y", e2e_s=4.0))])
    assert "### x: 1 at a time" in table
    assert ratio_in(table) == "2.00 (no interval)"


def test_several_loads_are_compared_by_name() -> None:
    one = [*asked_rounds("one", lambda n: 1 + n / 100), *asked_rounds("one", lambda n: 2 + n / 100, cell="busy")]
    two = asked_rounds("two", lambda n: 2 + n / 50, cell="busy")
    said = document(measured("one", one), measured("two", two))
    assert [(s["name"], s["load"]) for s in said["sides"]] == [("one", "busy"), ("one", "load"), ("two", "busy")]
    assert [p["load"] for p in said["pairs"]] == ["busy"]


def test_sides_without_a_load_in_common_are_told_so() -> None:
    with pytest.raises(UserError, match=r"no two sides have a load in common \(one: x; two: y, z\)"):
        compare_endpoints([side("one", request(cell="x")), side("two", request(cell="y"), request(cell="z"))])


def test_concurrency_is_that_of_one_side_even_if_both_were_measured_at_once() -> None:
    sides = [side(name, spanned(0, 4, 40, endpoint=name), spanned(1, 2, 20, endpoint=name)) for name in ("one", "two")]
    assert "### load: 2 at a time" in comparison(sides)


@pytest.mark.parametrize("content", [None, "", "garbage\n", '{"endpoint": "one"}\n', "[1]\n"])
def test_a_side_that_holds_no_requests_is_named(content: str | None) -> None:
    if content is not None:
        Path("two/requests.jsonl").parent.mkdir()
        Path("two/requests.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"^two[:/]"):
        comparison([side("one", request()), Path("two")])


def test_a_side_named_twice_is_refused() -> None:
    one = side("one", request())
    with pytest.raises(UserError, match="one is named twice"):
        compare_endpoints([one, Path("one/../one")])


def test_4_passages_win_nothing_and_the_reason_is_said() -> None:
    one = measured("one", asked_rounds("one", lambda n: 1.0, prompts=1, rounds=4))
    two = measured("two", asked_rounds("two", lambda n: 2.0 + n / 1000, prompts=1, rounds=4, start_s=5.0))
    (pair,) = document(one, two)["pairs"]
    assert pair["ratio_ci"] is None and pair["p_value"] is None
    assert "No interval: 4 passages and 4 rounds" in pair["verdict"][0]


def test_a_side_of_several_endpoints_is_refused() -> None:
    with pytest.raises(UserError, match="holds one and two; name the folder of one of them"):
        comparison([side("all", request(), request(endpoint="two")), side("other", request())])


def test_what_confounds_the_sides_is_said() -> None:
    sides = [measured(name, asked_rounds(name, lambda n: 1 + n / 100)) for name in ("one", "two")]
    for side_, gateway in zip(sides, ("a.example", "b.example"), strict=True):
        for path in side_.rglob("run.json"):
            scenario = {"temperature": 0.7}
            write_json(path, {"endpoint": {"base_url": f"https://{gateway}/v1"}, "spec": {"scenario": scenario}})
    printed = comparison(sides)
    assert "different gateways (one through a.example and two through b.example)" in printed
    assert "no warm-up" in printed
    assert "temperature 0.7" in printed


def test_possible_reasons_are_told_from_the_records() -> None:
    warmed_up = [request(endpoint="one", key="warm-up-1", warm_up=True, round=1, e2e_s=9.0)]
    one = measured("one", [*warmed_up, *asked_rounds("one", lambda n: 1 + n / 100)])
    two = measured("two", asked_rounds("two", lambda n: 2 + n / 50))
    found = {(r["candidate"], r["side"]): r["finding"] for r in document(one, two)["reasons"]}
    assert found["a cold first call", "one"] == "supported"
    assert found["a cold first call", "two"] == "not tested"
    printed = comparison([one, two])
    assert "| a cold first call" in printed
    assert "Not tested everywhere: a cold first call" in printed


@pytest.mark.parametrize("run", ["torn{", "[]", '{"host": "box", "endpoint": 3, "spec": null}'])
def test_a_broken_record_beside_the_requests_takes_nothing_from_them(run: str) -> None:
    sides = [measured(name, asked_rounds(name, lambda n: 1 + n / 100)) for name in ("one", "two")]
    for path in sides[0].rglob("run.json"):
        path.write_text(run)
    assert document(*sides)["sides"][0]["ok"] == document(*sides)["sides"][1]["ok"] > 0


def test_the_verdict_comes_before_the_essential_table_and_the_rest_on_request() -> None:
    sides = [measured("one", asked_rounds("one", lambda n: 1.0)), measured("two", asked_rounds("two", lambda n: 2.0))]
    brief, full = endpoints_text(compare_endpoints(sides)), comparison(sides)
    assert brief.startswith("For this session, two was slower than one") and full.startswith(brief[:40])
    assert brief.index("slower") < brief.index("| metric")
    assert "E2E p50" not in brief and "--full" in brief and "E2E p50" in full


def test_one_round_is_not_tested_and_never_no_difference() -> None:
    sides = [measured(name, asked_rounds(name, lambda n: 1.0, rounds=1)) for name in ("one", "two")]
    text = endpoints_text(compare_endpoints(sides))
    assert text.startswith("two against one, E2E latency: not tested with only one round; ratio")
    assert "no difference" not in text


def test_a_folder_of_rounds_is_one_side_even_if_each_was_a_load_of_its_own() -> None:
    for number in (1, 2, 10):
        records = [request(endpoint="endpoint", key=f"p{place}", e2e_s=float(number)) for place in range(4)]
        write_jsonl(Path(f"loads/r{number}/requests.jsonl"), records)
    (load,) = compare_endpoints([Path("loads")]).loads
    assert sorted({(r.round, r.e2e_s) for r in load.attempts}) == [(1, 1.0), (2, 2.0), (10, 10.0)]
    assert len(load.rounds) == 3


def test_the_steps_of_a_sweep_are_loads_and_not_rounds() -> None:
    for slots in (1, 8):
        write_jsonl(Path(f"sweep/c{slots}/requests.jsonl"), [request(endpoint="endpoint")])
    assert [load.cell for load in compare_endpoints([Path("sweep")]).loads] == ["c1", "c8"]


def test_result_files_in_folders_of_rounds_are_one_side() -> None:
    for number in (1, 2, 3):
        written(Path(f"vllm/r{number}/result.json"), steady(slots=1, requests=5, latency_s=2 + number / 10))
    written(Path("vllm/r1/notes.json"), {"some": "thing"})
    compared = compare_endpoints([Path("vllm")])
    assert [record.round for record in compared.loads[0].rounds] == [1, 2, 3]
    assert any("left out" in remark and "notes.json" in remark for remark in compared.remarks)


def test_imported_rounds_are_one_side_and_their_own_figures_the_mean() -> None:
    for number in (1, 2, 3):
        source = written(Path("vllm.json"), steady(slots=1, requests=5 * number))
        keep_imported(source, Path(f"side/r{number}"))
    (load,) = compare_endpoints([Path("side")]).loads
    assert [record.round for record in load.rounds] == [1, 2, 3]
    assert (load.summary.ok, load.summary.output_tok_per_s) == (30, pytest.approx(10.0))


def test_imported_summaries_in_one_folder_are_loads_apart() -> None:
    for name in ("one", "two"):
        keep_imported(written(Path(f"{name}.json"), vllm(**DETAILS)), Path("out"))
    assert [load.cell for load in compare_endpoints([Path("out")]).loads] == ["one", "two"]


def test_a_note_names_its_side_and_different_loads_are_said() -> None:
    files = [written(Path("a.json"), steady(slots=1, requests=10)), written(Path("b.json"), vllm(**DETAILS))]
    remarks = compare_endpoints(files).remarks
    assert remarks[0] == "the loads have different names and are compared as one: a.json c1 and b.json imported"
    assert any(remark.startswith("b.json: vllm bench serve: the file holds no single requests") for remark in remarks)


def test_the_verdict_and_the_table_have_one_direction() -> None:
    sides = [measured("one", asked_rounds("one", lambda n: 1.0)), measured("two", asked_rounds("two", lambda n: 2.0))]
    text = endpoints_text(compare_endpoints(sides))
    assert text.startswith("For this session, two was slower than one: E2E latency ratio of geometric means 2.00")
    assert cells_of(text)["mean latency (s)"][2].startswith("2.00 (") and "two ÷ baseline" in text
    (pair,) = document(*sides)["pairs"]
    assert (pair["a"], pair["b"], pair["ratio_of_means"]) == ("two", "one", 2.0)


def test_result_files_beside_records_are_named() -> None:
    one = side("one", request())
    written(one / "vllm.json", steady(slots=1, requests=5))
    written(one / "notes.json", {"some": "thing"})
    remarks = compare_endpoints([one]).remarks
    assert "vllm.json next to the records: not read; compare it as a separate side" in remarks
    assert not any("notes.json" in remark for remark in remarks)


@pytest.mark.parametrize("name", ["requests.jsonl", "renamed.jsonl"])
def test_a_last_line_that_is_cut_off_is_said(name: str) -> None:
    file = side("one", request(), request(key="p2")) / "load/r1/requests.jsonl"
    torn = file.rename(file.with_name(name))
    torn.write_bytes(torn.read_bytes()[:-20])
    compared = compare_endpoints([torn])
    assert len(compared.loads[0].attempts) == 1
    assert f"{torn}: its last line is cut off, and is left out" in compared.remarks


def test_a_path_that_is_not_there_is_said_to_be() -> None:
    with pytest.raises(UserError, match=r"nowhere\.json: is not there"):
        compare_endpoints([Path("nowhere.json")])


def test_records_that_were_written_twice_into_a_file_are_refused() -> None:
    file = side("one", request(), request(key="p2")) / "load/r1/requests.jsonl"
    file.write_text(file.read_text() * 2)
    with pytest.raises(UserError, match="record 2 is the same as record 0"):
        compare_endpoints([file])


def test_a_result_that_stands_in_two_files_of_a_folder_counts_once() -> None:
    runs = [steady(slots=1, requests=5), steady(slots=1, requests=5, latency_s=3.0)]
    for place, run in enumerate(runs):
        written(Path(f"sweep/run={place}.json"), run)
    written(Path("sweep/summary.json"), runs)
    (load,) = compare_endpoints([Path("sweep")]).loads
    assert [record.round for record in load.rounds] == [1, 2] and len(load.attempts) == 10


def test_a_file_of_several_endpoints_is_as_many_sides() -> None:
    sides = {"metis": script_json([1.0], [10], [5]), "sophia": script_json([2.0], [10], [5])}
    compared = compare_endpoints([written(Path("results.json"), sides)])
    assert [load.name for load in compared.loads] == ["results.json: metis", "results.json: sophia"]
    assert len(compared.document.pairs) == 1


@pytest.mark.parametrize(("key", "value"), [("e2e_s", 1e308), ("sent_unix_s", 1e300), ("e2e_s", -1.0)])
def test_a_time_that_no_request_has_is_named(key: str, value: float) -> None:
    one = side("one", request(e2e_s=1.0), request(key="p2", **{key: value}))
    with pytest.raises(UserError, match=rf"one/.*record 1: {key} is "):
        compare_endpoints([one, side("two", request())])


def test_nothing_of_a_result_file_acts_on_the_terminal() -> None:
    hostile = "\x1b[2J\u202eevil\x07"
    sides = {f"metis{hostile}": script_json([1.0], [10], [5]), "sophia": script_json([2.0], [10], [5])}
    for path in (written(Path("results.json"), sides), side("own", request(cell=hostile, class_=hostile))):
        text = endpoints_text(compare_endpoints([path]), full=True)
        assert not set(text) & set("\x1b\x07\u202e") and "\\x1b" in text


# --- as JSON ------------------------------------------------------------------------------------------------


def test_two_simulated_endpoints_are_recovered() -> None:
    """Endpoint a: 0.5 s + 10 ms per token; b: 2 s + 5 ms per token, so that they cross at 300 tokens."""

    def jitter(tokens: int) -> float:
        return 1 + 0.01 * ((tokens * 7919) % 11 - 5) / 5

    one = asked_rounds("one", lambda n: (0.5 + 0.010 * n) * jitter(n))
    two = asked_rounds("two", lambda n: (2.0 + 0.005 * n) * jitter(n + 4), start_s=10.0)
    said = document(measured("one", one), measured("two", two))
    laws = [s["law"] for s in said["sides"]]
    for law, a_s, b_s in zip(laws, (0.5, 2.0), (0.010, 0.005), strict=True):
        assert law["a_ci"][0] <= a_s <= law["a_ci"][1] and law["a_s"] == pytest.approx(a_s, rel=0.05)
        assert law["b_ci"][0] <= b_s <= law["b_ci"][1] and law["b_s_per_tok"] == pytest.approx(b_s, rel=0.05)
        assert law["decode_ci"][0] <= 1 / b_s <= law["decode_ci"][1]
    (pair,) = said["pairs"]
    assert pair["paired"] and pair["crossover_kind"] == "interval" and pair["crossover_extrapolated"]
    assert pair["crossover_ci"][0] <= 300 <= pair["crossover_ci"][1]
    assert "For this session, two was slower than one" in pair["verdict"][0]


def test_the_json_holds_what_programs_are_promised() -> None:
    a = measured("a", asked_rounds("a", lambda n: 1 + n / 100))
    b = measured("b", asked_rounds("b", lambda n: 2 + n / 50))
    c = measured("c", asked_rounds("c", lambda n: 3 + n / 50))
    said = document(a, b, c)
    assert [(p["a"], p["b"]) for p in said["pairs"]] == [("b", "a"), ("c", "a"), ("c", "b")]
    for each in said["sides"]:
        assert (set(each), set(each["latency_s"]), set(each["law"])) == (SIDE, LATENCY, LAW)
    for pair in said["pairs"]:
        assert set(pair) == PAIR
        assert pair["ratio_of_means"] > 1 and pair["paired_diff_s"] > 0
        assert pair["ratio_ci"][0] <= pair["ratio_of_means"] <= pair["ratio_ci"][1]
        assert pair["verdict"] and all(sentence.endswith(".") for sentence in pair["verdict"])
    means = {s["name"]: s["latency_s"]["mean"] for s in said["sides"]}
    assert said["pairs"][0]["ratio_of_means"] == pytest.approx(means["b"] / means["a"])


def test_exchanges_are_read_where_nothing_was_derived_from_them() -> None:
    folder = Path("one/load/r1")
    journal = Journal(folder / "exchanges.jsonl", "spec", 1000.0)
    for number in range(3):
        reads = [(2.0 + n, step) for n, step in enumerate(s for s in tokens("Par", "is") if isinstance(s, bytes))]
        exchange = Exchange(0.5, 1.0, 1.5, 9.0, status=200, reads=reads)
        journal.add(Attempt(f"p{number}", 1, 0.4, exchange), final=True)
    journal.close()
    (found, _) = document(Path("one"), side("two", request()))["sides"]
    assert (found["name"], found["load"], found["n"], found["ok"]) == ("one", "load", 3, 3)
    assert found["latency_s"]["mean"] is not None
    (folder / "requests.jsonl").touch()  # emptied by a power cut
    assert document(Path("one"), Path("two"))["sides"][0]["n"] == 3


def test_a_load_test_that_was_interrupted_is_a_round_beside_finished_ones() -> None:
    side("one", request(endpoint="endpoint", cell="load"))
    folder = Path("one/load/r2")
    journal = Journal(folder / "exchanges.jsonl", "spec", 1000.0)
    reads = [(2.0 + n, step) for n, step in enumerate(s for s in tokens("Par", "is") if isinstance(s, bytes))]
    journal.add(Attempt("p", 1, 0.4, Exchange(0.5, 1.0, 1.5, 9.0, status=200, reads=reads)), final=True)
    journal.close()
    write_json(folder / "run.json", {"spec": {"kind": "load"}})
    (found, _) = document(Path("one"), side("two", request()))["sides"]
    assert (found["name"], found["n"]) == ("one", 2)


def test_what_can_not_be_said_is_null_and_has_its_reason() -> None:
    one = side("one", *asked_rounds("one", lambda n: 1.0, rounds=1))
    two = side("two", *asked_rounds("two", lambda n: 2.0, rounds=1))
    said = document(one, two)
    (pair,) = said["pairs"]
    nulls = {key for key, value in pair.items() if value is None}
    assert nulls == {
        "ratio_ci", "paired_diff_ci", "p_value", "crossover_tokens", "crossover_ci", "crossover_kind",
    }  # fmt: skip
    reasons = {note.partition(":")[0] for note in pair["notes"]}
    assert reasons == {"unpaired", "ratio_ci", "paired_diff_ci", "p_value", "crossover"}
    assert set(pair["notes"]) <= set(said["notes"])


def test_a_side_that_only_failed_has_no_figures_and_breaks_nothing() -> None:
    said = document(side("one", request()), side("two", failed(endpoint="two")))
    assert [(s["n"], s["ok"], s["latency_s"]["mean"]) for s in said["sides"]] == [(1, 1, 2.0), (1, 0, None)]
    (pair,) = said["pairs"]
    assert pair["ratio_of_means"] is pair["paired_diff_s"] is None
    assert "ratio_of_means: a side has no latencies" in pair["notes"]
    assert "can't be compared in load" in pair["verdict"][0]


# --- the published comparison -------------------------------------------------------------------------------

# Synthesised: the ten latencies were not published, only their aggregates; these ten give the same ones.
METIS_S = (4.465, 4.7, 4.8, 4.9, 5.0, 5.044, 5.1, 5.15, 5.1793, 5.535)
SOPHIA_S = (3.133, 0.597, 1.0, 1.1382, 1.2, 1.5648, 1.761, 1.8, 1.9, 2.1183)
METIS_TOKENS = (79, 60, 95, 70, 88, 66, 91, 75, 83, 84)
SOPHIA_TOKENS = (70, 40, 60, 75, 85, 80, 95, 98, 105, 110)


def script_json(latencies_s: Sequence[float], prompt: Sequence[int], completion: Sequence[int]) -> dict[str, Any]:
    return {
        "results": [
            {
                "prompt_id": number, "latency_sec": latency, "response": "…",
                "metadata": {"prompt_tokens": p, "completion_tokens": c, "total_tokens": p + c},
            }
            for number, (latency, p, c) in enumerate(zip(latencies_s, prompt, completion, strict=True), 1)
        ]
    }  # fmt: skip


def published() -> dict[str, Any]:
    """Import and compare records synthesised to the published aggregates."""
    metis = script_json(METIS_S, [246] * 1 + [247] * 9, METIS_TOKENS)
    sophia = script_json(SOPHIA_S, [248] * 1 + [249] * 9, SOPHIA_TOKENS)
    write_json(Path("results.json"), {"metis": metis, "sophia": sophia})
    assert keep_imported(Path("results.json"), Path("imported")) == {"metis": 10, "sophia": 10}
    return document(Path("imported/metis"), Path("imported/sophia"))


def test_the_published_table_comes_back_by_its_definitions_with_the_corrected_columns_beside_it() -> None:
    metis, sophia = published()["sides"]
    for found, mean, upper_median, low, high, total, length, output in (
        (metis, 4.98733, 5.044, 4.465, 5.535, 65.37, 326.0, 15.9),
        (sophia, 1.62123, 1.761, 0.597, 3.133, 203.98, 330.7, 50.5),
    ):
        latency = found["latency_s"]
        assert (latency["mean"], latency["min"], latency["max"]) == pytest.approx((mean, low, high), abs=1e-4)
        assert latency["median"] < upper_median  # the published one is the upper of the two middle values
        assert found["total_tok_per_s"] == pytest.approx(total, abs=0.01)
        assert found["prompt_tokens_mean"] + found["completion_tokens_mean"] == pytest.approx(length)
        assert found["output_tok_per_s"] == pytest.approx(output, abs=0.06)
        assert (found["ok"], found["n"]) == (10, 10)


def test_the_ratio_of_the_usual_medians_is_the_corrected_one() -> None:
    metis, sophia = published()["sides"]
    assert metis["latency_s"]["median"] / sophia["latency_s"]["median"] == pytest.approx(3.02, abs=0.005)


def test_of_the_published_records_no_decode_speed_no_crossover_and_no_winner_is_claimed() -> None:
    said = published()
    assert all(s["law"] is None or s["law"]["decode_tok_per_s"] is None for s in said["sides"])
    (pair,) = said["pairs"]
    assert not pair["paired"] and 1 / pair["ratio_of_means"] == pytest.approx(3.08, abs=0.005)
    assert pair["paired_diff_s"] == pytest.approx(-3.366, abs=0.001)
    assert pair["ratio_ci"] is pair["crossover_tokens"] is pair["crossover_kind"] is pair["p_value"] is None
    words = " ".join(pair["verdict"])
    assert "not tested with only one round" in words and "no difference" not in words and "Compared unpaired" in words
    assert "faster" not in words and "decodes" not in words


def test_what_the_published_script_hid_is_said() -> None:
    notes = " ".join(published()["notes"])
    for hidden in ("left failed requests out", "count prompt and output tokens together", "kept no times"):
        assert hidden in notes


def test_the_published_comparison_is_printed_as_a_table() -> None:
    published()
    table = comparison([Path("imported/metis"), Path("imported/sophia")])
    found = cells_of(table)
    assert found["mean latency (s)"] == ["4.99", "1.62", "0.325 (no interval)"]
    assert found["throughput per request (total tok/s)"] == ["65.4", "204", "3.12 (no interval)"]
    assert found["throughput per request (output tok/s)"] == ["15.9", "50.5", "3.18 (no interval)"]
    assert found["success"] == ["10/10", "10/10", "–"]


def test_how_tokens_were_counted_stands_beside_what_is_compared() -> None:
    beside = [request(key=f"q{n}", tokens_rule="completion_tokens + reasoning_tokens") for n in range(4)]
    against = [request(key=f"q{n}", tokens_rule="events", tokens_estimated=True, tokens_claimed=1) for n in range(4)]
    text = endpoints_text(compare_endpoints([side("one", *beside), side("two", *against)]))
    assert "one: tokens counted as completion_tokens + reasoning_tokens: 4 of 4 answers" in text
    assert "two: tokens estimated from the stream: the counts of 4 of 4 answers contradict it (1 token, " in text
