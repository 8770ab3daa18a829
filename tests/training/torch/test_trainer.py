"""The torch backend, in this process, on models of one layer: what it logs, honours, refuses, how it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")
pytest.importorskip("transformers")
import numpy as np  # noqa: E402

from accelbench.config import TorchPlatform  # noqa: E402
from accelbench.training.backends.torch import Torch  # noqa: E402
from accelbench.training.torch import loop  # noqa: E402
from accelbench.training.torch.batches import read_loader  # noqa: E402
from accelbench.training.torch.log import Rates  # noqa: E402
from accelbench.training.torch.ranks import devices_here  # noqa: E402
from accelbench.training.torch.run import loops_of, read_run  # noqa: E402
from accelbench.training.torch.settings import Settings  # noqa: E402
from accelbench.training.torch.trainer import main  # noqa: E402
from tests.training.conftest import LEFT, RATE, ROOT, STAMP, TOKENS, VOCABULARY, Ended, Train, write_data  # noqa: E402

EVAL = re.compile(
    rf"{STAMP}INFO:   \| Eval Device=cpu, GlobalStep=(\d+), Batch=(\d+), Loss=\d+\.\d{{5}}, {RATE}, {LEFT}"
)
AVERAGE = re.compile(rf"{STAMP}INFO:   Avg Eval Loss: (\d+\.\d+)")


def micro_batch(size: object) -> list[object]:
    return [{"ScopedTrainFlags": {"csx.performance.micro_batch_size": size}}]


def losses_close(one: Ended, other: Ended) -> bool:
    assert one.losses
    assert one.losses.keys() == other.losses.keys()
    return all(abs(loss - other.losses[step]) < 2e-4 for step, loss in one.losses.items())


# --- the log


def test_every_line_has_a_stamp_and_a_level(train: Train) -> None:
    ended = train({"init.loop.eval_frequency": 1.0})
    assert ended.status == 0
    assert ended.stderr == ""
    assert all(re.match(rf"{STAMP}(INFO|WARNING|ERROR):   ", line) for line in ended.log.splitlines())


def test_progress_is_logged_every_log_steps_and_at_the_last_step(train: Train) -> None:
    assert list(train({"init.logging.log_steps": 3, "init.loop.max_steps": 5}).losses) == [3, 5]


def test_the_log_tells_the_run_in_modelzoos_order(train: Train) -> None:
    log = train().log
    expected = (
        "Running command: ",
        "=" * 75,
        "Trainer Fit Summary",
        "Trainer will run 1 train loop.",
        "* 1 loop of 4 steps",
        "for a total of 4 train steps.",
        "Progress will be logged every step.",
        "Starting train loop 1 of 1, from global step 1 to 4 (4 steps)",
        "| Train Device=cpu, Step=1",
        "Training completed successfully!",
        "Processed 16 training sample(s) in ",
    )
    places = [log.index(f"INFO:   {line}") for line in expected]
    assert places == sorted(places)


def test_the_loss_falls(train: Train) -> None:
    ended = train({"init.loop.max_steps": 12, "fit.train_dataloader.batch_size": 20})
    assert ended.losses[12] < ended.losses[1] - 0.05


def test_trainer_json_says_what_trained(train: Train) -> None:
    facts = train().facts
    assert facts["versions"].keys() == {"torch", "transformers", "python"}
    assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    assert (facts["sequence_length"], facts["samples_per_epoch"], facts["not_honoured"]) == (TOKENS, 20, [])
    embeddings, attention, ffn, norms = 2 * VOCABULARY * 16, 4 * 16 * 16, 3 * 16 * 24, 3 * 16
    assert facts["parameters"] == embeddings + attention + ffn + norms
    assert facts["device_name"]
    assert facts["threads"] >= 1
    assert facts["memory_peak_bytes"] > 0 and facts["memory_need_bytes"] > 0


# --- the held-out loss


def test_the_held_out_loss_is_logged_at_the_end(train: Train) -> None:
    ended = train({"init.loop.eval_frequency": 1.0})
    assert EVAL.findall(ended.log) == [("4", "1"), ("4", "2")]
    assert len(AVERAGE.findall(ended.log)) == 1
    assert ended.log.index("Training completed") < ended.log.index("Avg Eval") < ended.log.index("Processed")


def test_the_held_out_loss_is_logged_every_k_steps(train: Train) -> None:
    ended = train({"init.loop.eval_frequency": 3, "init.loop.max_steps": 7, "init.logging.log_steps": 100})
    assert [step for step, _ in EVAL.findall(ended.log)] == ["3", "6", "7"]
    assert "Starting train loop 3 of 3, from global step 7 to 7 (1 step)" in ended.log
    assert ended.log.count("Training completed successfully!") == 3
    assert ended.log.count("Evaluation completed successfully!") == 3


def test_evaluating_does_not_change_the_training(train: Train) -> None:
    assert train({"init.loop.eval_frequency": 1}).losses == train().losses


def test_evaluating_does_not_count_in_the_rates(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", lambda *args, **kw: (time.sleep(0.5), evaluate(*args, **kw)))
    log = train({"init.loop.eval_frequency": 2, "init.logging.log_steps": 2}).log
    global_rates = [float(rate) for rate in re.findall(r"Train .*GlobalRate=([\d.]+)", log)]
    assert min(global_rates) > 8 / 0.5


def test_the_average_is_the_mean_over_the_held_out_batches(train: Train) -> None:
    log = train({"init.loop.eval_frequency": 1.0}).log
    by_batch = train({"init.loop.eval_frequency": 1.0, "init.loop.eval_steps": 1}, model_dir="one").log
    first, last = (float(loss) for loss in re.findall(r"Batch=\d, Loss=([\d.]+)", log))
    assert float(AVERAGE.findall(log)[0]) == pytest.approx(last, abs=1e-5)
    assert float(AVERAGE.findall(by_batch)[0]) == pytest.approx(first, abs=1e-5)
    assert first != last


def test_an_evaluation_before_others_tells_how_long_it_takes_at_least(train: Train) -> None:
    log = train({"init.loop.eval_frequency": 2}).log
    left = re.findall(r"Eval .*GlobalStep=(\d).* TimeRemaining(.)", log)
    assert left == [("2", ">"), ("2", ">"), ("4", "="), ("4", "=")]


def test_the_platforms_initial_weights_reach_the_trainer_and_its_record(train: Train) -> None:
    normal, as_modelzoo = train(), train(options=["--initial_weights", "modelzoo"], model_dir="modelzoo")
    assert (normal.facts["initial_weights"], as_modelzoo.facts["initial_weights"]) == ("normal", "modelzoo")
    assert normal.losses != as_modelzoo.losses
    alike, drawn = (
        Torch("cpu", TorchPlatform(backend="torch", **more)).launch(Path("p.yaml"), Path("d")).command
        for more in ({"initial_weights": "modelzoo"}, {})
    )
    assert alike[-2:] == ["--initial_weights", "modelzoo"] and "--initial_weights" not in drawn


@pytest.mark.parametrize(
    ("max_steps", "frequency", "lengths"),
    [
        (50, 1.0, [50]),
        (50, 0.5, [25, 25]),
        (7, 3, [3, 3, 1]),
        (5, 9, [5]),
        (3, 1, [1, 1, 1]),
        (10, 0.3, [3, 3, 3, 1]),
    ],
)
def test_loops_end_where_the_held_out_loss_is_due(max_steps: int, frequency: float, lengths: list[int]) -> None:
    loops = loops_of(max_steps, frequency)
    assert [len(loop) for loop in loops] == lengths
    assert [step for loop in loops for step in loop] == list(range(1, max_steps + 1))


# --- what of the file is honoured


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(train: Train) -> None:
    assert train().losses == train().losses
    assert train({"init.seed": 2}).losses != train().losses


def test_another_shuffle_seed_is_another_order(train: Train) -> None:
    assert train({"fit.train_dataloader.shuffle_seed": 2}).losses != train().losses


@pytest.mark.parametrize("size", [1, 2, 4])
def test_micro_batches_give_the_losses_of_the_whole_batch(train: Train, size: int) -> None:
    assert losses_close(train({"init.callbacks": micro_batch(size)}), train({"init.callbacks": micro_batch("auto")}))


def test_accumulating_batches_multiplies_the_batch(train: Train) -> None:
    ended = train({"init.loop.grad_accum_steps": 2})
    assert "Processed 32 training sample(s)" in ended.log
    assert "Effective batch size is 8." in ended.log


def test_tokens_that_the_mask_leaves_out_do_not_count(train: Train, tmp_path: Path) -> None:
    half = np.arange(TOKENS) < TOKENS // 2
    masked = write_data(tmp_path / "masked", 20, seed=1, mask=half)
    with h5py.File(write_data(tmp_path / "other", 20, seed=1, mask=half) / "data-00000.h5", "r+") as file:
        file["data"][:, 2, TOKENS // 2 :] = 0
    runs = [train({"fit.train_dataloader.data_dir": str(folder)}) for folder in (masked, tmp_path / "other")]
    assert runs[0].losses == runs[1].losses


def test_the_weights_follow_the_schedule(train: Train) -> None:
    still = train({"init.schedulers": [{"ConstantLR": {"learning_rate": 0.0}}], "fit.train_dataloader.batch_size": 20})
    assert len({round(loss, 4) for loss in still.losses.values()}) == 1


def test_gradients_are_clipped_to_the_norm(train: Train) -> None:
    assert train({"init.precision.max_gradient_norm": 1e-6}).losses != train().losses


def test_bfloat16_trains_with_autocast(train: Train) -> None:
    ended = train({"init.precision": {"enabled": True, "fp16_type": "cbfloat16"}})
    assert ended.status == 0
    assert ended.facts["dtype"] == "bfloat16"


def test_several_data_folders_are_one(train: Train, data: Path) -> None:
    ended = train({"fit.train_dataloader.data_dir": [str(data / "train"), str(data / "val")]})
    assert ended.facts["samples_per_epoch"] == 28


def test_keys_that_are_not_honoured_are_named_once(train: Train) -> None:
    ended = train(
        {
            "init.callbacks": [{"ComputeNorm": {}}],
            "init.loggers": [{"ProgressLogger": {}}],
            "init.precision.loss_scaling_factor": "dynamic",
            "init.optimizer.AdamW.learning_rate": 1.0,
            "fit.train_dataloader.num_workers": 8,
            "init.future_key": 1,
        }
    )
    assert sorted(ended.facts["not_honoured"]) == [
        "trainer.fit.train_dataloader.num_workers",
        "trainer.init.callbacks[0].ComputeNorm",
        "trainer.init.future_key",
        "trainer.init.loggers[0].ProgressLogger",
        "trainer.init.optimizer.AdamW.learning_rate",
        "trainer.init.precision.loss_scaling_factor",
    ]
    assert ended.log.count("Not honoured by this backend: ") == 1


def test_the_llama_2_7b_file_is_read_but_for_the_wafers_own_keys(data: Path) -> None:
    tree = yaml.safe_load((ROOT / "config/models/llama2_7b.yaml").read_text())
    folder = write_data(data.parent / "long", 256, seed=1, tokens=4096)
    tree["trainer"]["fit"]["train_dataloader"]["data_dir"] = str(folder)
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(tree))
    run = read_run(file, "cuda")
    assert (run.max_steps, run.dtype, run.held_out) == (200, "bfloat16", None)
    assert run.learning_rate(200) == pytest.approx(3e-5)
    assert sorted(run.not_honoured) == [
        "trainer.fit.train_dataloader.num_workers",
        "trainer.fit.train_dataloader.persistent_workers",
        "trainer.fit.train_dataloader.prefetch_factor",
        "trainer.init.backend",
        "trainer.init.precision.loss_scaling_factor",
    ]


# --- batches


def order(data: Path, **settings: Any) -> list[list[int]]:
    """The first tokens of the samples of the first six batches."""
    section = {"data_processor": "GptHDF5MapDataProcessor", "data_dir": str(data / "val"), "batch_size": 3}
    loader = read_loader(
        Settings(Path("p.yaml"), (), section | settings), vocab_size=VOCABULARY, sequence_length=TOKENS
    )
    batches = loader.batches()
    return [next(batches)[:, 0, 0].tolist() for _ in range(6)]


def test_dropped_samples_open_the_next_epoch(data: Path) -> None:
    eight, *_ = order(data, batch_size=8)
    assert [first for batch in order(data) for first in batch] == (eight * 3)[:18]


def test_a_ragged_last_batch_is_kept_when_asked_for(data: Path) -> None:
    assert [len(batch) for batch in order(data, drop_last=False)] == [3, 3, 2, 3, 3, 2]


def test_each_epoch_is_shuffled_anew(data: Path) -> None:
    first, second, *_ = order(data, batch_size=8, shuffle=True)
    assert sorted(first) == sorted(second)
    assert first != second


# --- rates


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_the_rate_is_a_moving_average_and_the_global_rate_is_not(clock: Callable[[float], None]) -> None:
    rates = Rates()
    for seconds in (1.0, 4.0):
        clock(seconds)
        rates.add(8)
        rates.read()
    assert rates.rate == pytest.approx(0.6 * 2 + 0.4 * 8)
    assert rates.global_rate == pytest.approx(16 / 4)


def test_steps_that_ended_unwatched_count_as_equally_long(clock: Callable[[float], None]) -> None:
    watched, unwatched = Rates(), Rates()
    for step in range(6):
        clock(0.5 if step < 3 else 2.0)
        for rates in (watched, unwatched):
            rates.add(8)
        watched.read()
        if step % 3 == 2:
            unwatched.read()
    assert unwatched.rate == pytest.approx(watched.rate)


# --- refusals

MODEL, LOADER = "trainer.init.model", "trainer.fit.train_dataloader"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("init.model.dropout_rate", 0.1, f"{MODEL}.dropout_rate is 0.1; it can only be 0.0"),
        (
            "init.model.dropout_rate",
            None,
            f"{MODEL}.dropout_rate is missing, which for ModelZoo means 0.1; it can",
        ),
        ("init.model.use_ffn_bias", True, f"{MODEL}.use_ffn_bias is true; it can only be false"),
        ("init.model.nonlinearity", "gelu", f"{MODEL}.nonlinearity is gelu; it can only be swiglu"),
        ("init.model.norm_type", "layernorm", "it can only be rmsnorm"),
        ("init.model.position_embedding_type", "alibi", "it can only be rotary"),
        ("init.model.rotary_dim", 4, f"{MODEL}.rotary_dim is 4; it can only be 8"),
        ("init.model.num_heads", 3, f"{MODEL}.num_heads is 3; it must divide hidden_size, 16"),
        ("init.model.loss_scaling", "batch_size", "it can only be num_tokens"),
        ("init.model.moe", {"num_experts": 8}, f"{MODEL}.moe changes the model"),
        ("init.model.vocab_size", 16, "the data has the token id 31, the model a vocabulary of 16"),
        ("init.model.hidden_size", "big", f"{MODEL}.hidden_size is big; it must be an integer, 1 or more"),
        (
            "init.model.max_position_embeddings",
            8,
            "samples of shape (3, 16), the model's max_position_embeddings",
        ),
        ("init.optimizer", {"SGD": {}}, "trainer.init.optimizer is SGD; this backend knows AdamW"),
        ("init.optimizer.AdamW.correct_bias", False, "correct_bias is false; it can only be true"),
        ("init.schedulers", [{"StepLR": {}}], "trainer.init.schedulers[0] is StepLR; this backend knows"),
        (
            "init.precision",
            {"enabled": True, "fp16_type": "float16"},
            "fp16_type is float16; it must be bfloat16",
        ),
        ("init.callbacks", micro_batch(3), "micro_batch_size is 3; it must divide the batch, 4 samples"),
        (
            "init.callbacks",
            micro_batch("explore"),
            "micro_batch_size is explore; this backend knows an integer",
        ),
        (
            "init.loop",
            {"eval_frequency": None},
            "trainer.init.loop.max_steps is missing; it must be an integer",
        ),
        ("init.loop.eval_frequency", 1.5, "eval_frequency is 1.5; it must be an integer (every k steps)"),
        ("init.loop.num_epochs", 2, "num_epochs is 2; it can only be null"),
        (
            "init.backend.backend_type",
            "CSX",
            "backend_type is CSX; this backend trains on cpu, cuda, xpu, mps: choose",
        ),
        (
            "fit.train_dataloader.data_dir",
            "/nowhere",
            f"{LOADER}.data_dir: there is no folder /nowhere; prepare",
        ),
        ("fit.train_dataloader.data_dir", str(ROOT / "config"), "holds no .h5 file; prepare the data first"),
        ("fit.train_dataloader.batch_size", 64, f"{LOADER}.batch_size is 64; its data_dir holds 20 samples"),
        ("fit.train_dataloader.data_processor", "Other", "it can only be GptHDF5MapDataProcessor"),
    ],
)
def test_what_would_be_another_run_is_refused_in_one_line(train: Train, key: str, value: Any, message: str) -> None:
    ended = train({key: value})
    assert ended.status == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("/")  # the file is named first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the params file can't be read (No such file or directory)"),
        ("a: [1", "the params file can't be read as YAML"),
        ("init: {}", "trainer is missing"),
        ("trainer: [{}, {}]", "trainer is a list of 2; this backend runs one"),
        ("trainer: [{}]", "trainer[0].trainer is missing"),
    ],
)
def test_a_file_that_is_no_params_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    file = tmp_path / "params.yaml"
    if text is not None:
        file.write_text(text)
    assert main([str(file), "--model_dir", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (err.count("\n"), out) == (1, "")


def test_a_list_of_one_trainer_is_that_trainer(
    params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"trainer": [params]}))
    assert main([str(file), "--model_dir", str(tmp_path)]) == 0
    params["trainer"]["init"]["seed"] = "one"
    file.write_text(yaml.safe_dump({"trainer": [params]}))
    assert main([str(file), "--model_dir", str(tmp_path)]) == 2
    assert "trainer[0].trainer.init.seed is one; it must be an integer" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda", "xpu", "mps"])
def test_a_device_that_is_not_there_is_refused(device: str, train: Train) -> None:
    if devices_here(device):
        pytest.skip("it is there")
    ended = train(device=device)
    assert ended.status == 2
    assert f"--device {device}: torch" in ended.stderr


# --- failures


def test_a_loss_that_is_not_a_number_ends_the_run(train: Train, tmp_path: Path) -> None:
    nothing_counts = write_data(tmp_path / "masked", 20, seed=1, mask=0)
    ended = train({"fit.train_dataloader.data_dir": str(nothing_counts)})
    assert ended.status == 1
    assert re.fullmatch(
        rf"{STAMP}ERROR:   Initiating shutdown sequence due to NaN error: NaN loss detected at step 1\. .*",
        ended.log.splitlines()[-1],
    )
    assert "completed successfully" not in ended.log


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't"),
    ],
)
def test_out_of_memory_ends_the_run_with_one_line(
    train: Train, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "summed_loss", fails)
    ended = train()
    assert ended.status == 1
    assert "ERROR:   Initiating shutdown sequence due to error: Out of memory on cpu" in ended.log.splitlines()[-1]


def test_an_error_of_the_program_is_not_taken_for_want_of_memory(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(loop, "summed_loss", fails)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train()


@pytest.mark.parametrize(
    ("sent", "after", "status"),
    [
        (signal.SIGINT, b"Running command", 130),
        (signal.SIGINT, b"Step=1,", 130),
        (signal.SIGTERM, b"Running command", -signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_process(
    params: dict[str, Any], tmp_path: Path, sent: signal.Signals, after: bytes, status: int
) -> None:
    params["trainer"]["init"]["loop"]["max_steps"] = 1_000_000
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(params))
    command = [
        sys.executable,
        "-m",
        "accelbench.training.torch.trainer",
        str(file),
        "--model_dir",
        str(tmp_path),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if after in line)
        process.send_signal(sent)
        _, err = process.communicate(timeout=10)
    assert process.returncode == status
    assert b"Traceback" not in err


def test_a_params_file_is_refused_before_torch_is_imported() -> None:
    code = """
import sys
from accelbench.training.torch.trainer import main
print(main(["none.yaml", "--model_dir", "none"]), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["2", "False"]
