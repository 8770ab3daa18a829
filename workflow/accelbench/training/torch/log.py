"""What the torch backend prints, in the words of ModelZoo's log, so that one parser reads both.

Source: ModelZoo 2.6.0, trainer/loggers/progress.py, trainer/callbacks/{run_schedule,profiler}.py, and
cerebras-pytorch 2.6.0, utils/tracker.py.
"""

import os
import time
from datetime import datetime, timedelta

from accelbench.training.torch.run import Run

OLD_RATE_WEIGHT = 0.4
HELD_OUT = "val_dataloader_2"  # ModelZoo counts its dataloaders; the one for training is the first


class Rates:
    """Samples per second of one loop. Each loop and evaluation has its own: evaluations count in no rate of training.

    As in ModelZoo the global rate's clock starts at the end of the first step, and that step's samples count: after n
    steps it is high by n/(n - 1). ModelZoo's rates of the first step itself are by a clock of no time; here its
    seconds count. Source: ModelZoo 2.6.0, trainer/callbacks/profiler.py (`conditional_reset`).
    """

    def __init__(self) -> None:
        """Start the clock of the first step."""
        self.started_s = self.read_s = time.perf_counter()
        self.first_step_s = 0.0
        self.samples = self.steps = self.unread_samples = self.unread_steps = 0
        self.rate = 0.0

    def add(self, samples: int) -> None:
        """Count one step."""
        self.unread_samples += samples
        self.unread_steps += 1

    def read(self) -> None:
        """Read the clock. Of steps that ended unwatched (a GPU's) each took its share of the time since."""
        now_s = time.perf_counter()
        rate = self.unread_samples / (now_s - self.read_s)
        old_weight = OLD_RATE_WEIGHT**self.unread_steps if self.steps else 0.0
        self.rate = (1 - old_weight) * rate + old_weight * self.rate
        self.samples, self.steps = self.samples + self.unread_samples, self.steps + self.unread_steps
        self.read_s, self.unread_samples, self.unread_steps = now_s, 0, 0
        if self.steps == 1:
            self.first_step_s, self.started_s = now_s - self.started_s, now_s

    @property
    def global_rate(self) -> float:
        """Samples per second since the first step."""
        return self.samples / (self.read_s - self.started_s if self.steps > 1 else self.first_step_s)

    @property
    def step_s(self) -> float:
        """Mean seconds per step."""
        return (self.read_s - self.started_s) / (self.steps - 1) if self.steps > 1 else self.first_step_s


def is_first_rank() -> bool:
    """Whether this is the process that prints and saves: the only one, or the first of torchrun's."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str, level: str = "INFO") -> None:
    """Print one line of the log. Of several processes only the first does, but each says its own errors."""
    if not is_first_rank() and level != "ERROR":
        return
    now = datetime.now()
    print(f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d} {level}:   {message}", flush=True)


def say_batch(run: Run) -> None:
    """Print how a batch is made up."""
    say(f"Gradient accumulation steps is {run.grad_accum_steps}")
    if run.grad_accum_steps > 1:
        say(f"Effective batch size is {run.train.batch_size * run.grad_accum_steps}.")


def say_fit_summary(run: Run) -> None:
    """Print what will be done."""
    sizes = [len(loop) for loop in run.loops]
    evaluations = [f"* {HELD_OUT} after every train loop"] if run.held_out else []
    _framed(
        "=",
        "Trainer Fit Summary",
        "-" * 75,
        f"Trainer will run {_counted(len(sizes), 'train loop')}"
        + (", interleaving validation as follows:" if evaluations else "."),
        *evaluations,
        "",
        "Train steps per train loop:",
        *(f"* {_counted(sizes.count(n), 'loop')} of {_counted(n, 'step')}" for n in dict.fromkeys(sizes)),
        f"for a total of {_counted(sum(sizes), 'train step')}.",
        "",
        *_checkpoints(run),
        f"Progress will be logged every {_steps(run.log_steps)}.",
    )


def say_train_loop(run: Run, number: int, loop: range) -> None:
    """Print that a loop of training starts."""
    _framed(
        "-",
        f"Starting train loop {number} of {len(run.loops)}, from global step {loop[0]} to {loop[-1]} "
        f"({_counted(len(loop), 'step')})",
    )


def say_evaluation(run: Run, number: int) -> None:
    """Print that an evaluation starts."""
    steps = _counted(run.held_out_batches, "step")
    _framed("-", f"Starting {HELD_OUT} loop {number} of {len(run.loops)}, with {steps}")


def say_progress(
    where: str, loss: float, rates: Rates, loop_left_s: float, left_s: float, at_least: bool = False
) -> None:
    """Print a progress line; `at_least`: something of unknown length is still to come."""
    say(
        f"| {where}, Loss={loss:.5f}, Rate={_rate(rates.rate)}, GlobalRate={_rate(rates.global_rate)}, "
        f"LoopTimeRemaining={_duration(loop_left_s)}, "
        f"TimeRemaining{'>' if at_least else '='}{_duration(left_s)}"
    )


def _counted(number: int, noun: str) -> str:
    """Return '1 step' or '20 steps'."""
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _checkpoints(run: Run) -> list[str]:
    if not run.checkpoint_steps:
        return []
    number = sum(run.saves(step) for loop in run.loops for step in loop)
    last = " and on the last step," if run.max_steps % run.checkpoint_steps else ""
    every = _steps(run.checkpoint_steps)
    return [f"Checkpoints will be taken every {every},{last} for a total of {_counted(number, 'checkpoint')}.", ""]


def _steps(number: int) -> str:
    """Return 'step' or '20 steps', to follow 'every'."""
    return "step" if number == 1 else _counted(number, "step")


def _framed(line: str, *messages: str) -> None:
    for message in (line * 75, *messages, line * 75):
        say(message)


def _rate(samples_per_s: float) -> str:
    return f"{samples_per_s:{'.3g' if samples_per_s < 1 else '.2f'}} samples/sec"


def _duration(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))
