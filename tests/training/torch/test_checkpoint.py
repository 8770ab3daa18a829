"""Checkpoints of the torch backend: a run that was stopped ends as if it never had been."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("transformers")

from accelbench.training.log.reader import read_log  # noqa: E402
from accelbench.training.torch import checkpoint, loop  # noqa: E402
from tests.training.conftest import ROOT, TRAIN, Ended, Train  # noqa: E402

EVERY_2 = {"init.checkpoint.steps": 2, "init.loop.max_steps": 7}


def files(model_dir: Path) -> list[str]:
    return sorted(path.name for path in model_dir.iterdir() if path.name != "trainer.json")


def tensors(node: Any) -> list[Any]:
    if isinstance(node, dict | list):
        return [tensor for value in (node.values() if isinstance(node, dict) else node) for tensor in tensors(value)]
    return [node] if isinstance(node, torch.Tensor) else []


def state(model_dir: Path, step: int) -> list[Any]:
    """All tensors of a checkpoint: weights, moments, random states."""
    return tensors(torch.load(model_dir / f"checkpoint_{step}.pt"))


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) > 0 and all(map(torch.equal, one, other))


def interrupt(monkeypatch: pytest.MonkeyPatch, *, before_step: int) -> None:
    """Ctrl-C at the clipping of a step's gradients, once."""
    clip = torch.nn.utils.clip_grad_norm_
    steps = iter(range(1, 1000))

    def clips(*arguments: Any) -> Any:
        if next(steps) == before_step:
            raise KeyboardInterrupt
        return clip(*arguments)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clips)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses of all progress lines, all their digits."""
    exact: list[float] = []
    say = loop.say_progress
    monkeypatch.setattr(
        loop, "say_progress", lambda where, loss, *args, **kw: (exact.append(loss), say(where, loss, *args, **kw))
    )
    return exact


# --- going on


@pytest.mark.parametrize("stopped_before", [2, 3, 4, 6, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"init.loop.grad_accum_steps": 3, "fit.train_dataloader.drop_last": False},
        {"init.loop.eval_frequency": 3, "fit.train_dataloader.batch_size": 3},
    ],
    ids=["plain", "ragged", "evaluating"],
)
def test_a_run_that_goes_on_ends_like_one_that_was_never_stopped(
    train: Train, monkeypatch: pytest.MonkeyPatch, losses: list[float], changes: dict[str, Any], stopped_before: int
) -> None:
    changes = {**EVERY_2, **changes}
    whole = train(changes, model_dir="whole")
    undisturbed = losses.copy()
    interrupt(monkeypatch, before_step=stopped_before)
    assert train(changes).status == 130
    losses.clear()
    rest = train(changes)
    assert rest.status == 0
    assert min(rest.losses) == (stopped_before - 1) // 2 * 2 + 1
    assert losses == undisturbed[-len(losses) :]
    assert same(state(rest.model_dir, 7), state(whole.model_dir, 7))


def test_a_killed_process_goes_on(train: Train, params: dict[str, Any], tmp_path: Path) -> None:
    changes = {"init.checkpoint.steps": 20, "init.loop.max_steps": 200}
    whole = train(changes, model_dir="whole")
    command = [sys.executable, "-m", "accelbench.training.torch.trainer", str(tmp_path / "params.yaml")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    with subprocess.Popen(
        [*command, "--model_dir", str(tmp_path / "model_dir")], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if b"Saving checkpoint at step 60" in line)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    rest = train(changes)
    assert 40 < min(rest.losses) < 200
    assert rest.losses == {step: loss for step, loss in whole.losses.items() if step in rest.losses}
    assert same(state(rest.model_dir, 200), state(whole.model_dir, 200))


def test_the_log_says_where_it_goes_on(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, before_step=4)
    train(EVERY_2)
    rest = train(EVERY_2)
    last = rest.model_dir / "checkpoint_2.pt"
    expected = (
        "Gradient accumulation steps is 1",
        f'Checkpoint autoloading is enabled. Looking for latest checkpoint in "{rest.model_dir}" directory',
        f'Found latest checkpoint at "{last}".',
        f"Loading weights from checkpoint {last}",
        "Trainer Fit Summary",
        "* 1 loop of 5 steps",
        "for a total of 5 train steps.",
        "Checkpoints will be taken every 2 steps, and on the last step, for a total of 3 checkpoints.",
        "Starting train loop 1 of 1, from global step 3 to 7 (5 steps)",
        "| Train Device=cpu, Step=4",
        "Saving checkpoint at step 4",
        f"Saved checkpoint {rest.model_dir / 'checkpoint_4.pt'}",
        "Training completed successfully!",
        "Processed 20 training sample(s) in ",
    )
    places = [rest.log.index(f"INFO:   {line}") for line in expected]
    assert places == sorted(places)


def test_evaluations_stay_where_they_were_due(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, before_step=6)
    changes = {**EVERY_2, "init.loop.eval_frequency": 3}
    train(changes)
    log = train(changes).log
    assert "Starting train loop 1 of 2, from global step 5 to 6 (2 steps)" in log
    assert "Starting train loop 2 of 2, from global step 7 to 7 (1 step)" in log


def test_autoloading_can_be_turned_off(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, before_step=6)
    changes = {**EVERY_2, "init.checkpoint.autoload_last_checkpoint": False}
    train(changes)
    ended = train(changes)
    assert min(ended.losses) == 1
    assert "Checkpoint autoloading" not in ended.log
    assert "No checkpoint was provided. Using randomly initialized model parameters." in ended.log


def test_a_finished_run_has_no_step_left(train: Train) -> None:
    train(EVERY_2)
    again = train(EVERY_2)
    assert again.status == 1
    assert again.log.splitlines()[-1].endswith("RuntimeError: Initial global step 7 already exceeds max step 7.")
    assert again.stderr == ""


def test_a_checkpoint_of_another_model_is_refused_in_one_line(train: Train) -> None:
    train(EVERY_2)
    ended = train({**EVERY_2, "init.model.filter_size": 32})
    assert ended.status == 2
    assert f"{ended.model_dir / 'checkpoint_7.pt'}: the checkpoint is of another model" in ended.stderr
    assert ended.stderr.count("\n") == 1


# --- saving


def test_checkpoints_are_saved_every_k_steps_and_at_the_end_and_two_are_kept(train: Train) -> None:
    ended = train(EVERY_2)
    saved = [line.rpartition("/")[2] for line in ended.log.splitlines() if "Saved checkpoint" in line]
    assert saved == ["checkpoint_2.pt", "checkpoint_4.pt", "checkpoint_6.pt", "checkpoint_7.pt"]
    assert files(ended.model_dir) == ["checkpoint_6.pt", "checkpoint_7.pt"]


@pytest.mark.parametrize("steps", [None, 0])
def test_none_is_saved_unless_asked_for(train: Train, steps: int | None) -> None:
    ended = train({"init.checkpoint.steps": steps})
    assert files(ended.model_dir) == []
    assert "Checkpoints will be taken" not in ended.log


def test_the_first_weights_are_saved_when_asked_for(train: Train) -> None:
    ended = train({"init.checkpoint.save_initial_checkpoint": True})
    assert files(ended.model_dir) == ["checkpoint_0.pt"]
    assert ended.log.index("Starting train loop") < ended.log.index("Saving checkpoint at step 0")
    assert train({"init.checkpoint.save_initial_checkpoint": True}).losses == ended.losses


def test_saving_changes_no_loss(train: Train) -> None:
    assert train(EVERY_2).losses == train({"init.loop.max_steps": 7}, model_dir="other").losses


@pytest.mark.parametrize("steps", [-1, 2.5, "all", True, [2, 4]])
def test_steps_that_are_no_number_are_refused(train: Train, steps: Any) -> None:
    ended = train({"init.checkpoint.steps": steps})
    assert ended.status == 2
    assert "trainer.init.checkpoint.steps is " in ended.stderr
    assert "it must be an integer, 0 or more" in ended.stderr


def test_a_full_disk_ends_the_run_with_one_line_and_keeps_what_was_saved(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(state: dict[str, Any], stream: Any) -> None:
        save(state, stream)
        if state["position"]["step"] > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    ended = train(EVERY_2)
    assert ended.status == 2
    assert "checkpoint_4.pt: the checkpoint can't be written (No space left on device). Make room" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert files(ended.model_dir) == ["checkpoint_2.pt"]


# --- broken checkpoints


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


@pytest.mark.parametrize("breaks", [cut, empty, other])
def test_a_broken_checkpoint_falls_back_on_the_one_before(train: Train, breaks: Any) -> None:
    whole = train(EVERY_2)
    weights = state(whole.model_dir, 7)
    breaks(whole.model_dir / "checkpoint_7.pt")
    rest = train(EVERY_2)
    assert f"WARNING:   Checkpoint {whole.model_dir / 'checkpoint_7.pt'} can't be read and is left aside" in rest.log
    assert list(rest.losses) == [7]
    assert same(state(rest.model_dir, 7), weights)


def test_without_a_readable_checkpoint_training_starts_afresh(train: Train) -> None:
    whole = train(EVERY_2)
    for step in (6, 7):
        cut(whole.model_dir / f"checkpoint_{step}.pt")
    afresh = train(EVERY_2)
    assert f'None of the checkpoints in "{whole.model_dir}" can be read: training starts afresh.' in afresh.log
    assert "No checkpoint was provided. Using randomly initialized model parameters." in afresh.log
    assert afresh.losses == whole.losses
    assert files(afresh.model_dir) == ["checkpoint_6.pt", "checkpoint_7.pt"]


def test_checkpoints_after_this_step_outlive_those_before(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(EVERY_2)
    for step in (6, 7):
        empty(whole.model_dir / f"checkpoint_{step}.pt")
    interrupt(monkeypatch, before_step=5)
    train(EVERY_2)
    assert files(whole.model_dir) == [f"checkpoint_{step}.pt" for step in (2, 4, 6, 7)]
    assert min(train(EVERY_2).losses) == 5


# --- the log, read


def test_the_log_of_a_run_in_two_parts_is_read_as_one(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clip, save = torch.nn.utils.clip_grad_norm_, torch.save
    interrupt(monkeypatch, before_step=8)
    interrupted = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: (time.sleep(0.05), interrupted(*args)))
    monkeypatch.setattr(checkpoint.torch, "save", lambda *args: (time.sleep(0.4), save(*args)))
    changes = {"init.checkpoint.steps": 3, "init.loop.max_steps": 12}
    parts: list[Ended] = [train(changes)]
    time.sleep(0.5)
    parts.append(train(changes))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    log = tmp_path / "run.log"
    log.write_text("".join(part.log for part in parts))
    steps = [int(step) for step, _ in TRAIN.findall(log.read_text())]
    assert steps == [*range(1, 8), *range(7, 13)]

    parsed = read_log(log, batch_size=4)
    assert (parsed.outcome, parsed.last_step, parsed.max_steps) == ("completed", 12, 12)
    assert parsed.steady_rate_samples_per_s is not None
    assert 35 < parsed.steady_rate_samples_per_s < 80  # 4 samples in 50 ms and a bit; 22 with the saving
    phases = parsed.phases_s
    assert (phases["checkpoint"] or 0) >= 4 * 0.4
    assert (phases["other"] or 0) >= 0.5  # between the two
    assert (phases["train"] or 0) < 1.5
    assert [check.what for check in parsed.checks if check.what not in ("rates", "steps", "parts")] == []
