"""InferenceX's aggregates."""

from pathlib import Path

from accelbench.compare.importers import read_results

from .results import only_load, written

POINT = {
    "hw": "h100", "tp": 8, "conc": 16, "model": "m", "isl": 1024, "osl": 512, "tput_per_gpu": 100.0,
    "output_tput_per_gpu": 40.0, "median_ttft": 0.2, "mean_tpot": 0.01, "median_e2el": 5.0,
}  # fmt: skip


def test_throughput_is_that_of_all_gpus_and_times_are_seconds(tmp_path: Path) -> None:
    load = only_load(written(tmp_path / "agg.json", POINT))
    own = load.summary
    assert (load.load, own.output_tok_per_s, own.total_tok_per_s) == ("c16", 320.0, 800.0)
    assert (own.ttft_s.median, own.tpot_s.mean, own.latency_s.median) == (0.2, 0.01, 5.0)
    assert "throughput of 8 GPUs together" in load.notes


def test_output_tokens_are_the_decoding_gpus_where_prefill_has_its_own(tmp_path: Path) -> None:
    apart = POINT | {"disagg": True, "num_prefill_gpu": 4, "num_decode_gpu": 12}
    own = only_load(written(tmp_path / "agg.json", [apart])).summary
    assert (own.output_tok_per_s, own.total_tok_per_s) == (480.0, 1600.0)


def test_points_of_several_systems_are_endpoints_and_never_rounds(tmp_path: Path) -> None:
    points = [POINT, POINT | {"hw": "mi355x"}, POINT | {"conc": 32}]
    loads = read_results(written(tmp_path / "agg.json", points)).loads
    assert [(load.endpoint, load.load) for load in loads] == [
        ("h100 m 8", "c16"),
        ("mi355x m 8", "c16"),
        ("h100 m 8", "c32"),
    ]


def test_an_experiments_throughput_is_of_all_gpus(tmp_path: Path) -> None:
    result = {
        "model_id": "m", "max_concurrency": 16, "duration": 50.0, "completed": 160, "num_prompts": 160,
        "output_throughput": 403.6, "median_ttft": 0.29, "median_e2el": 4.57,
    }  # fmt: skip
    load = only_load(written(tmp_path / "a.json", result))
    assert (load.load, load.summary.ok, load.summary.output_tok_per_s) == ("c16", 160, 403.6)
    assert load.summary.ttft_s.median == 0.29
