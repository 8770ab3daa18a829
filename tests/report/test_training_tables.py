"""The sweep's further columns come only with their figures, and notes say why a figure is not there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelbench.analysis.published import read_published
from accelbench.analysis.sweep import sweeps_of
from accelbench.analysis.training import TrainingRow, training_rows
from accelbench.config import Training
from accelbench.report.training_tables import published_markdown, training_columns, training_markdown
from accelbench.store.records import EnergyFacts, Surroundings, TrainRunRecord

from ..analysis.records import log_of

REFERENCE = Path(__file__).parents[2] / "config/reference/llama2_7b_cs3.yaml"
MODEL = {"hidden_size": 128, "num_hidden_layers": 4, "num_heads": 4, "filter_size": 344, "vocab_size": 512}
FIRST = {
    "batch size", "runs", "steady rate samples/s (lowest–highest)", "tokens/s", "total s", "samples/total s",
    "not training", "samples seen",
}  # fmt: skip
PHASES = {"setup": 3.0, "queue": 50.0, "train": 20.0}


def run(batch_size: int = 4, repeat: int = 1, **changes: Any) -> TrainRunRecord:
    log = {
        "steady_rate_samples_per_s": 10.0, "processed_samples": 50 * batch_size, "processed_seconds": 5.0 * batch_size,
        "phases_s": PHASES, "wall_s": 80.0,
    }  # fmt: skip
    made = TrainRunRecord("p", batch_size, repeat, "measured", None, log=log_of(log), trainer={"sequence_length": 128})
    return replace(made, **changes)


def rows(*records: TrainRunRecord, **training: Any) -> list[TrainingRow]:
    platform = {"backend": "torch", "peak_tflops": training.pop("peak_tflops", None)}
    return training_rows(records, Training.model_validate({"platforms": {"p": platform}, **training}))


def test_a_sweep_that_needs_no_further_column_has_none():
    assert training_columns(rows(run())).keys() == FIRST


def test_a_projection_is_shown_only_when_asked_for():
    columns = training_columns(rows(run(), project_steps=1000))
    assert columns["projected: time for 1,000 steps (s)"] == [("403", 403.0)]
    assert columns["projected: samples/s, start-up included"][0][0] == "9.93"


def test_mfu_names_the_kind_and_the_source_of_its_peak():
    peak = {"value": 0.1, "kind": "dense", "source": "the data sheet"}
    shown = rows(run(model=MODEL), peak_tflops=peak)
    assert "of 0.100 (dense)" in training_columns(shown)["MFU (kind of peak)"][0][0]
    text = training_markdown(shown, {})
    assert "0.100 TFLOP/s, dense, the data sheet" in text
    assert "Peaks of different kinds can't be compared" in text


def test_the_vendors_utilisation_is_a_column_of_its_own():
    columns = training_columns(rows(run(trainer={"flops_utilization": 0.31})))
    assert columns["trainer's flops utilization"] == [("31.0 %", 0.31)]


def test_the_estimate_of_memory_stands_beside_its_peak():
    trainer = {"memory_need_bytes": 3 * 2**30, "memory_peak_bytes": 2 * 2**30}
    columns = training_columns(rows(run(trainer=trainer)))
    assert columns["memory per process GiB (estimated)"] == [("3.00", 3.0)]
    assert columns["memory per process GiB (peak)"] == [("2.00", 2.0)]


def test_losses_of_random_tokens_are_said_to_mean_nothing():
    text = training_markdown(rows(run(), corpus="synthetic"), {"p": "GPU node"})
    assert "GPU node trained on random tokens (corpus: synthetic): losses mean nothing." in text


def test_the_formula_stands_under_the_figures_it_gave():
    assert "6·N·L + 6·layers·L²·d" in training_markdown(rows(run(model=MODEL)), {})


def test_no_tokens_without_a_sequence_length_and_the_note_says_what_to_do():
    text = training_markdown(rows(run(trainer={}, model=MODEL)), {"p": "CS-3"})
    assert "No tokens/s for CS-3" in text and "training.sequence_length" in text
    assert "No model TFLOP/s" not in text


def test_no_tflops_without_the_models_sizes():
    text = training_markdown(rows(run(model={"hidden_size": 128})), {})
    assert "No model TFLOP/s: the params file does not say num_hidden_layers" in text


def test_the_line_through_the_totals_stands_with_its_furthest_run():
    runs = [run(size, repeat) for size in (4, 8, 16) for repeat in (1, 2)]
    text = training_markdown(rows(*runs), {"p": "CPU"}, runs, sweeps_of(runs))
    assert "Cross-check, CPU: total time, the queue left out, = -50.0 s + samples / 10.0 per s" in text
    assert "6 runs of 3 sizes" in text and "the furthest run lies" in text


def test_without_repeats_there_is_no_line():
    runs = [run(size) for size in (4, 8, 16)]
    assert "Cross-check" not in training_markdown(rows(*runs), {}, runs, sweeps_of(runs))


def test_published_figures_are_labelled_as_not_measured_here():
    text = published_markdown(read_published(REFERENCE))
    assert text.startswith("### Published, not measured here: Llama-7B on one Cerebras CS-3")
    assert "published homework figures" in text
    assert "Batch 256: 82 % of its time is not training: queue, compile, loading or checkpoints" in text
    assert "7,057" in text


def test_a_run_that_was_resumed_is_marked():
    log = replace(run().logged, resumed_from_steps=(20, 40), parts=3, between_parts_s=900.0, last_step=50)
    resumed = run(log=log)
    assert training_columns(rows(resumed, run(8)))["resumed from step"] == [("20, 40", 20.0), ("–", None)]
    text = training_markdown(rows(resumed), {"p": "CS-3"}, [resumed, run(8)])
    assert "Resumed: CS-3, batch 4, repeat 1, from step 20 and 40; its phases cover 3 parts." in text
    assert "but not the 900 s between the parts" in text and text.count("Resumed:") == 1


def spent(joules: float | None, scope: str = "GPU 0", **facts: Any) -> Surroundings:
    told = EnergyFacts(scope=scope, read="x", joules=joules, wall_s=9, idle_before_w=60, idle_after_w=70, why=None)
    return Surroundings(energy=[EnergyFacts(**{**told, **facts})])


def test_measured_energy_per_sample_names_its_scope_its_range_and_idle_power() -> None:
    shown = rows(run(surroundings=spent(100)), run(repeat=2, surroundings=spent(300)))
    columns = training_columns(shown)
    assert columns["measured J/sample (of)"] == [("1.00 (0.500–1.50), 1 GPU", 1.0)]
    assert columns["W before the run"] == [("60.0", 60.0)] and columns["W after the run"] == [("70.0", 70.0)]
    assert "never with declared power" in training_markdown(shown, {})


def test_energy_that_is_not_known_of_a_run_is_said_and_never_zero() -> None:
    lost = spent(None, why="it was not read over the whole span")
    shown = rows(run(surroundings=spent(100)), run(repeat=2, surroundings=lost), run(8, surroundings=lost))
    assert [text for text, _ in training_columns(shown)["measured J/sample (of)"]] == ["0.500, 1 GPU", "–"]
    notes = training_markdown(shown, {})
    assert "unknown in 1 of 2 runs (it was not read over the whole span)" in notes
    assert "unknown in 1 of 1 runs" in notes
