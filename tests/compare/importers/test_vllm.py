"""Results of `vllm bench serve`."""

from pathlib import Path

import pytest

from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers import read_folder, read_results
from accelbench.errors import UserError

from .results import DETAILS, only_load, steady, throughput, vllm, written


def test_requests_sent_all_at_once_are_400_tokens_in_40_s(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", vllm())
    (found,) = throughput(path)
    assert found["output_tok_per_s"] == pytest.approx(10.0)
    assert compare_endpoints([path]).rows[0].load == "concurrency not recorded"


def test_without_start_times_the_throughput_is_the_files_own_and_said_to_be(tmp_path: Path) -> None:
    compared = compare_endpoints([written(tmp_path / "a.json", vllm(start_times="left out"))])
    assert compared.document.throughput[0].output_tok_per_s == 10.0
    assert any("the system throughput is the file's own" in remark for remark in compared.remarks)
    assert compared.rows[0].load == "concurrency not recorded"


def test_a_summary_is_a_side_of_its_own_figures_without_intervals(tmp_path: Path) -> None:
    summary = written(tmp_path / "summary.json", vllm(**DETAILS))
    said = compare_endpoints([written(tmp_path / "a.json", vllm()), summary]).document
    side, (pair,) = said.sides[1], said.pairs
    assert (side.n, side.ok, side.law) == (4, 4, None)
    assert said.throughput[1].output_tok_per_s == 10.0
    assert pair.ratio_ci is pair.p_value is None
    assert "not tested: no single requests of summary.json" in pair.verdict[0]
    assert any("--save-detailed" in note for note in said.notes)


def test_a_result_without_any_figure_is_refused_with_the_flag_that_keeps_requests(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"backend": "vllm", "completed": 0})
    with pytest.raises(UserError, match=r"is from vllm bench serve, .* --save-detailed"):
        read_results(path)


def test_a_named_concurrency_is_the_loads_and_its_slots_are_filled(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", steady(slots=4, requests=40))
    assert only_load(path).load == "c4"
    (found,) = throughput(path)
    assert found["output_tok_per_s"] == pytest.approx(40.0, rel=0.01)
    assert compare_endpoints([path]).rows[0].load == "4 at a time"


def test_a_concurrency_that_was_never_reached_counts_as_unknown(tmp_path: Path) -> None:
    (found,) = throughput(written(tmp_path / "a.json", vllm(max_concurrency=256)))
    assert found["output_tok_per_s"] == pytest.approx(10.0)


def test_a_throughput_that_differs_from_the_files_own_says_by_how_much(tmp_path: Path) -> None:
    compared = compare_endpoints([written(tmp_path / "a.json", vllm(output_throughput=8.0))])
    (remark,) = [each for each in compared.remarks if "the file itself says" in each]
    assert "10 output tok/s" in remark and "+25.0 % off" in remark


def test_tpot_is_derived_and_a_failed_request_is_kept(tmp_path: Path) -> None:
    load = only_load(written(tmp_path / "a.json", vllm(errors=["", "", "", "Bad Gateway"])))
    first, last = load.requests[0], load.requests[-1]
    assert first.tpot_s == pytest.approx(5.0 / 9) and first.event_times_s == [5.0, 10.0]
    assert (last.class_, last.error_text, last.e2e_s) == ("http_5xx", "Bad Gateway", None)


def test_arrivals_at_a_rate_are_an_open_loop(tmp_path: Path) -> None:
    load = only_load(written(tmp_path / "a.json", vllm(request_rate=2.5, max_concurrency=256)))
    assert (load.rate_per_s, load.load) == (2.5, "r2p5")


@pytest.mark.parametrize("one_document", [True, False])
def test_several_results_in_one_file_are_loads_by_their_concurrency(tmp_path: Path, one_document: bool) -> None:
    results = [steady(slots=1, requests=10), steady(slots=4, requests=40)]
    path = written(tmp_path / "a.json", *([results] if one_document else results))
    assert [(load.load, len(load.requests)) for load in read_results(path).loads] == [("c1", 10), ("c4", 40)]


def test_one_load_several_times_is_as_many_rounds(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", *[steady(slots=1, requests=10, latency_s=s) for s in (2.0, 2.1, 2.2)])
    load = only_load(path)
    assert [r.round for r in load.requests] == [1] * 10 + [2] * 10 + [3] * 10
    assert load.summary.output_tok_per_s == pytest.approx((20 / 2.0 + 20 / 2.1 + 20 / 2.2) / 3)


def test_a_load_that_asked_longer_prompts_is_another(tmp_path: Path) -> None:
    longer = steady(slots=1, requests=10) | {"input_lens": [4000] * 10}
    path = written(tmp_path / "a.jsonl", steady(slots=1, requests=10), longer)
    assert [load.load for load in read_results(path).loads] == ["c1-in10", "c1-in4000"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"ttfts": [-5.0, 10.0, 10.0, 10.0]}, "1 request left out: a negative time"),
        ({"itls": [[-1.0], [30.0], [30.0], [30.0]]}, "1 request left out: a negative time"),
        ({"ttfts": [1e308, 10.0, 10.0, 10.0]}, "1 request left out: no latency is recorded"),
    ],
)
def test_times_that_can_not_be_are_left_out_and_counted(tmp_path: Path, changed: dict[str, object], why: str) -> None:
    load = only_load(written(tmp_path / "a.json", vllm(**changed)))
    assert len(load.requests) == 3 and why in load.notes


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"looks like vllm bench serve, .* of different lengths"):
        read_results(written(tmp_path / "a.json", vllm(errors=[""])))


def test_a_clock_that_begins_at_0_is_a_clock(tmp_path: Path) -> None:
    (found,) = throughput(written(tmp_path / "a.json", vllm(start_times=[0.0] * 4)))
    assert found["output_tok_per_s"] == pytest.approx(10.0)


def test_results_of_several_models_in_a_file_are_sides_and_those_of_one_are_rounds(tmp_path: Path) -> None:
    one, other = vllm(model_id="one"), vllm(model_id="other")
    loads = read_results(written(tmp_path / "a.jsonl", one, other, one | {"duration": 41.0})).loads
    assert {load.endpoint: max(r.round for r in load.requests) for load in loads} == {"one": 2, "other": 1}
    assert [load.endpoint for load in read_results(written(tmp_path / "b.json", one, one)).loads] == [None]


def test_files_of_several_models_in_a_folder_are_sides(tmp_path: Path) -> None:
    for model in ("one", "other"):
        written(tmp_path / f"{model}.json", vllm(model_id=model))
    assert [(load.endpoint, {r.round for r in load.requests}) for load in read_folder(tmp_path)] == [
        ("one", {1}), ("other", {1}),
    ]  # fmt: skip


def test_without_an_answer_there_are_no_times(tmp_path: Path) -> None:
    nothing = {"completed": 0, "failed": 4, "output_throughput": 0.0, "mean_ttft_ms": 0.0, "median_ttft_ms": 0.0}
    own = only_load(written(tmp_path / "a.json", vllm(**DETAILS, **nothing))).summary
    assert (own.requests, own.ok, own.ttft_s.mean, own.ttft_s.median) == (4, 0, None, None)


def test_why_requests_failed_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", vllm(errors=["", "", "", "Service Unavailable"]))
    assert "a.json, imported: http_5xx: status 503: Service Unavailable" in compare_endpoints([path]).remarks


def test_nothing_is_said_of_a_warm_up_that_a_file_does_not_tell(tmp_path: Path) -> None:
    assert not any("warm-up" in remark for remark in compare_endpoints([written(tmp_path / "a.json", vllm())]).remarks)
