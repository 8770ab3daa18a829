"""The page holds everything itself, shows foreign text as text, and hides nothing that is missing."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelbench.analysis.load import Load
from accelbench.analysis.pairs import judge_all, pairs_of
from accelbench.analysis.published import read_published
from accelbench.analysis.training import training_rows as summarise_training
from accelbench.report.page import sections
from accelbench.report.page.document import write_page
from accelbench.report.plots import write_plots
from accelbench.report.summary import MAX_SAMPLED, Summary
from accelbench.store.records import InferRoundRecord, RequestRecord, SearchRecord, TrainRunRecord

from ...analysis.records import asked_rounds, log_of, sides
from ...analysis.records import rows_of as rows_of_records
from ...analysis.test_load_curve import KNEED, asked, rows_of
from ..summaries import summary_of

EVIL = "<script>alert(1)</script>"
HOST = {"name": "box", "cpu": "Xeon", "cores": 2, "load_1min": 0.5}


def request(number: int, **changes: object) -> RequestRecord:
    made = RequestRecord(
        endpoint="a", cell="one", round=1, key=f"q{number}", attempt=1, last_attempt=True, session=1, warm_up=False,
        article="Chess", passage=f"p{number}", class_="ok", http_status=200, error_text=None, dequeued_unix_s=0.0,
        sent_unix_s=0.0, end_unix_s=1.0, ttft_s=0.1, ttfat_s=None, tpot_s=0.01, e2e_s=1.0, events=None,
        prompt_tokens=9, completion_tokens=5, finish_reason="stop", answer="yes", reasoning="", golds=["yes"],
        exact_match=True, f1=1.0, contains_gold=True, server_timings={},
    )  # fmt: skip
    return replace(made, **changes)


def summary(requests: list[RequestRecord], **changes: Any) -> Summary:
    log = {"steady_rate_samples_per_s": 40.0, "steps": [{"step": 5, "loss": 9.0}], "phases_s": {"train": 3.0},
           "wall_s": 4.0, "checks": [{"what": "rates", "text": "They disagree."}]}  # fmt: skip
    runs = [TrainRunRecord("cpu", 4, 1, "measured", None, "2026-01-02T10:00:00+00:00", log=log_of(log), host=HOST)]
    facts = {"model": "m", "precision": "Q4", "base_url": "https://elsewhere.example/v1"}
    rounds = [InferRoundRecord("a", "one", 1, "measured", None, "2026-01-02T11:00:00+00:00", facts=facts, host=HOST)]
    told = {"rounds": rounds, **changes}
    rows = told.pop("inference", None) or rows_of_records(rounds, requests, {"one": Load("one", 1)}, None, 60.0)
    prompts = {"set": {"source": {"name": "bundled (not SQuAD)"}, "digests": ["x"]}}
    of_runs = {"title": "A test", "runs": runs, "training": summarise_training(runs), "prompts": prompts}
    return summary_of(**{"requests": requests, "rows": rows, **of_runs, **told})


@pytest.fixture
def page(tmp_path):
    def write(shown: Summary, *, drawn: bool = False) -> str:
        if drawn:
            write_plots(tmp_path / "out/plots", shown)
        write_page(tmp_path / "out", shown)
        return (tmp_path / "out/report.html").read_text()

    return write


EMPTY = Summary("Empty", [], [], [], [], {}, {}, {})


def test_an_empty_summary_gives_a_page(page, tmp_path):
    text = page(summary_of([], [], [], title="Empty"), drawn=True)
    assert "No training runs are in this report." in text and "No endpoints are in this report." in text
    assert (tmp_path / "out/provenance.json").exists()


def test_the_page_explains_the_terms_it_uses_and_no_others(page):
    text = page(summary([request(1)], runs=[], training=[]))
    assert "<dt>TTFT</dt><dd>Time to first token.</dd>" in text
    assert "<dt>steady rate</dt>" not in text


def test_a_page_without_its_plots_says_so(tmp_path):
    write_page(tmp_path, summary([request(1)]))
    assert "The plot rate_vs_batch_size.svg was not drawn." in (tmp_path / "report.html").read_text()


def test_a_request_shows_how_its_tokens_were_counted_what_is_odd_and_that_no_answer_was_right(page):
    odd = request(1, tokens_rule="events", tokens_claimed=1, note="the count contradicts the stream", golds=[""])
    text = page(summary([odd, request(2, tokens_rule="completion_tokens")]))
    assert "output tokens 5, counted as events" in text and "counted as completion_tokens" not in text
    assert "the count contradicts the stream" in text and "(no answer)" in text


@pytest.mark.parametrize(
    "field", ["answer", "reasoning", "error_text", "key", "article", "class_", "finish_reason", "note"]
)
def test_markup_in_a_request_is_shown_as_text(page, field):
    text = page(summary([request(1, **{field: EVIL})]))
    assert EVIL not in text and "alert(1)" in text


def test_markup_in_golds_labels_titles_and_reasons_is_shown_as_text(page):
    gone = InferRoundRecord("a", "one", 2, "failed", EVIL)
    shown = summary([request(1, golds=[EVIL])], labels={"a": EVIL, "cpu": EVIL}, title=EVIL, hardware={"a": EVIL})
    assert EVIL not in page(replace(shown, rounds=[*shown.rounds, gone]), drawn=True)


def test_markup_in_a_prompt_is_shown_as_text(page, tmp_path):
    (tmp_path / "results/prompts").mkdir(parents=True)
    line = json.dumps({"id": "q1", "question": f"Who? {EVIL}"})
    (tmp_path / "results/prompts/set.jsonl").write_text(line + "\n")
    text = page(summary([request(1)]))
    assert EVIL not in text and "Who? &lt;script&gt;" in text


def test_nothing_is_loaded_from_elsewhere(page):
    text = page(summary([request(1, answer="see https://example.org and url(http://example.org)")]), drawn=True)
    tags = re.findall(r"<[a-zA-Z][^<>]*>", text)
    assert not [
        tag for tag in tags if re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?https?:""", tag)
    ]
    assert "@import" not in text and "<link" not in text


def test_only_the_pages_own_script_may_run(page):
    text = page(summary([request(1)]))
    assert text.count("<script") == 1
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", text)


def test_every_plot_says_in_words_what_it_shows(page):
    rounds = [InferRoundRecord(name, "one", 1, "measured", None, host=HOST) for name in "ab"]
    requests = [request(n, endpoint=name) for name in "ab" for n in range(3)]
    rows = rows_of_records(rounds, requests, {"one": Load("one", 1)}, None, 60.0)
    text = page(summary(requests, rounds=rounds, inference=rows), drawn=True)
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert len(labels) == len(set(labels)) == text.count("<svg")
    assert any(label.startswith("Share of answers that contain the gold answer") for label in labels)
    assert not any("requests in flight" in label for label in labels), "one load is no curve"


def test_the_knee_is_told_in_words_and_the_plots_text_says_where(page):
    requests = [request for number in (1, 2, 3) for request in asked(KNEED, number, endpoint="a")]
    keys = dict.fromkeys((r.cell, r.round) for r in requests)
    rounds = [InferRoundRecord("a", *key, "measured", None, host=HOST) for key in keys]
    text = page(summary(requests, rounds=rounds, inference=rows_of(requests, [*KNEED])), drawn=True)
    sentence = "the knee of speed per user against system throughput is at 8 in flight for a"
    assert text.count(sentence) == 1
    (label,) = (label for label in re.findall(r'aria-label="([^"]+)"', text) if "Pareto" in label)
    assert label.endswith("the knees are described below.")


def test_plots_have_ids_of_their_own(page):
    text = page(summary([request(n, e2e_s=1.0 + n) for n in range(9)]), drawn=True)
    ids = re.findall(r'<[^<>]*\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(ids)


def test_what_is_missing_stands_at_the_top_with_its_reason_below(page):
    shown = summary([request(1)])
    gone = InferRoundRecord("a", "one", 2, "failed", "the token was refused (401)")
    text = page(replace(shown, rounds=[*shown.rounds, gone]))
    assert text.index("1 of 3 planned measurements") < text.index("<table")
    assert "the token was refused (401)" in text


def test_the_hardware_is_what_was_measured_and_not_the_machine_that_waited(page):
    wafer = TrainRunRecord(
        "cs3", 256, 1, "measured", None, log=log_of({"device": "CSX"}), host={**HOST, "cpu": "AMD EPYC"}
    )
    text = page(replace(EMPTY, runs=[wafer], training=summarise_training([wafer]), labels={"cs3": "CS-3"}))
    assert "Training: CS-3 (CSX)" in text and "AMD EPYC" not in text[: text.index("Method and provenance")]


def test_a_reconnect_is_counted_and_is_no_failure(page):
    again = request(1, class_="connection", e2e_s=None, last_attempt=False)
    text = page(summary([again, request(1, attempt=2)]))
    assert "1 reconnect" in text and "no attempt failed" in text and text.count("<details data-endpoint") == 1


def test_a_complete_report_says_so(page):
    assert "Nothing is missing: all 2 planned measurements" in page(summary([request(1)]))


def test_all_failures_and_a_sample_of_successes_can_be_browsed(page):
    good = [request(n) for n in range(MAX_SAMPLED + 50)]
    failed = [request(1000 + n, class_="http_5xx", e2e_s=None, http_status=503) for n in range(20)]
    text = page(summary(good + failed))
    assert text.count("<details data-endpoint") == MAX_SAMPLED + 20
    assert "An even sample of 2,000 of 2,050 successful attempts" in text and "all 20 failed ones" in text


def test_the_data_set_is_called_by_its_name(page):
    assert "Questions: bundled (not SQuAD)." in page(summary([request(1)]))


def test_provenance_names_versions_hosts_and_measurements(page, tmp_path):
    page(summary([request(1)]))
    facts = json.loads((tmp_path / "out/provenance.json").read_text())
    assert facts["accelbench"] and facts["packages"]["matplotlib"]
    assert facts["hosts"] == [{"name": "box", "cpu": "Xeon", "cores": 2}]
    assert facts["training"][0]["measured_at"] and "log" not in facts["training"][0]
    assert facts["inference"][0]["facts"]["precision"] == "Q4"
    assert "digests" not in facts["prompts"]["set"]


def test_the_same_summary_gives_the_same_page(page):
    assert page(summary([request(1)])) == page(summary([request(1)]))


def test_published_figures_stand_in_a_table_of_their_own(page):
    published = read_published(Path(__file__).parents[3] / "config/reference/llama2_7b_cs3.yaml")
    assert "Published, not measured here" in page(summary([], published=published))
    assert "not measured here" not in page(summary([]))


def test_losses_that_all_runs_reached_come_with_their_caveat(page):
    steps = [{"step": n, "t_s": float(n), "loss": 9.0 - n} for n in range(1, 5)]
    runs = [TrainRunRecord("cpu", size, 1, "measured", None, log=log_of({"steps": steps})) for size in (4, 8)]
    text = page(summary([], runs=runs, training=summarise_training(runs)))
    assert "Samples and seconds to a loss that all runs reached" in text
    assert "these figures do not rank batch sizes" in text
    assert "reached" not in page(summary([]))


def test_runs_are_named_by_their_micro_batch_where_it_is_an_axis(page):
    log = {"steady_rate_samples_per_s": 40.0, "last_step": 5, "phases_s": {"train": 3.0}, "wall_s": 4.0}
    runs = [TrainRunRecord("cpu", 4, 1, "measured", None, log=log_of(log), micro_batch_size=micro) for micro in (1, 2)]
    failed = TrainRunRecord("cpu", 4, 1, "failed", "out of memory", micro_batch_size=4)
    shown = page(replace(EMPTY, runs=[*runs, failed], training=summarise_training([*runs, failed])))
    assert "cpu, batch 4, micro batch 4, repeat 1" in shown
    assert "cpu batch 4 micro batch 2 repeat 1" in shown


def test_the_control_is_labelled_and_is_no_candidate_for_reasons(page):
    asked = [r for name in ("a", "a-twin") for r in asked_rounds(name, lambda n: 1 + n / 100, cell="one")]
    rounds = [InferRoundRecord(r.endpoint, "one", r.round, "measured", None, host=HOST) for r in asked[::8]]
    rows = rows_of_records(rounds, asked, {"one": Load("one", 1)}, None, 60.0)
    judged = judge_all(pairs_of(rounds, sides(rounds, asked), "a", 60.0), controls=["a-twin"])
    text = page(summary(asked, rounds=rounds, inference=rows, judged=judged, labels={"a-twin": "a (control)"}))
    assert "Control: a against itself" in text and "itself: the noise floor" in text
    reasons = text[text.index('id="possible-reasons"') :]
    assert "a (control)" not in reasons[: reasons.index("</table>")]
    laws = text[text.index('id="latency-laws"') :]
    assert "regression" in laws[: laws.index("</table>")]


def test_a_report_without_searches_has_no_table_of_them_and_one_without_results_says_why() -> None:
    assert sections.highest_loads(summary([])) is None
    table = sections.highest_loads(summary([], searches=[SearchRecord("a", "users", "missing", "not measured yet")]))
    assert table is not None
    assert [cell.text for cell in table.rows[0]][-1] == "not measured yet"
