"""InferenceX's aggregates."""

from pathlib import Path

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
    assert "of 8 GPUs" in load.notes


def test_output_tokens_are_the_decoding_gpus_where_prefill_has_its_own(tmp_path: Path) -> None:
    apart = POINT | {"disagg": True, "num_prefill_gpu": 4, "num_decode_gpu": 12}
    own = only_load(written(tmp_path / "agg.json", [apart])).summary
    assert (own.output_tok_per_s, own.total_tok_per_s) == (480.0, 1600.0)
