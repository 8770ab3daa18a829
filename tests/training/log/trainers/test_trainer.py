"""What holds for the log of every trainer."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accelbench.report.terminal import log_table
from accelbench.store.files import jsonable
from accelbench.training.log.reader import read_logs
from accelbench.training.log.trainers import TRAINERS

from ..conftest import GOOD
from .conftest import LOGS, Read, megatron

every_trainer = pytest.mark.parametrize("name", LOGS)


@every_trainer
def test_a_trainer_is_found_from_the_lines_and_named(read: Read, name: str) -> None:
    [log] = read(LOGS[name])
    assert (log.trainer, log.is_a_log, log.parts, log.outcome) == (name, True, 1, "completed")
    assert log.steps


def test_every_trainer_has_a_log_here() -> None:
    assert {trainer.name for trainer in TRAINERS} == set(LOGS)


def test_modelzoos_lines_come_first(read: Read) -> None:
    [log] = read("\n".join(GOOD) + "\n" + LOGS["Megatron-LM"])
    assert (log.trainer, log.last_step) == (None, 20)


@every_trainer
@pytest.mark.parametrize("prefix", ["0: ", "[default0]:", "[1,0]<stdout>:", "[rank0]: ", "x3006c0s13b0n0 0: "])
def test_a_launchers_prefix_changes_nothing(read: Read, name: str, prefix: str) -> None:
    plain = LOGS[name].replace("[rank0]:", "")
    prefixed = "".join(f"{prefix}{line}" for line in plain.splitlines(keepends=True) if line.strip())
    assert jsonable(read(prefixed)[0]) == jsonable(read(plain)[0])


@every_trainer
def test_several_runs_in_a_file_are_read_each_by_itself(read: Read, name: str) -> None:
    one = read(LOGS[name])[0]
    logs = read(LOGS[name] + LOGS[name])
    assert [(log.run_no, log.last_step, log.batch_size) for log in logs] == [
        (1, one.last_step, one.batch_size),
        (2, one.last_step, one.batch_size),
    ]


@pytest.mark.parametrize(
    ("name", "lines_of_head", "resumes", "second_half"),
    [
        ("torchtitan", 4, ("at step 1\n", "at step 11\n"), "[rank0]:\x1b[0m[titan] 2026-03-01 10:00:50"),
        ("Hugging Face's Trainer", 5, ("40\n", "40\n  Continuing training from global step 20\n"), "\r 75%"),
        ("DeepSpeed", 2, ("", ""), "[2026-03-01 10:00:50,000] [INFO] [logging"),
    ],
)
def test_a_run_that_was_killed_and_resumed_is_one(
    read: Read, name: str, lines_of_head: int, resumes: tuple[str, str], second_half: str
) -> None:
    first, *second = LOGS[name].partition(second_half)
    head = "".join(LOGS[name].splitlines(keepends=True)[:lines_of_head]).partition("\r")[0]
    [resumed] = read(first + head.replace(*resumes) + "".join(second))
    assert (resumed.parts, resumed.outcome) == (2, "completed")
    assert [step.step for step in resumed.steps] == [step.step for step in read(LOGS[name])[0].steps]


@every_trainer
def test_a_card_without_enough_memory_is_the_failures_reason(read: Read, name: str) -> None:
    text = LOGS[name].replace("[rank0]:", "").rstrip()
    for end in ("`Trainer.fit`", "{'train_runtime'", "[titan] 2026-03-01 10:00:51", "[after training is done]"):
        text = text.partition(end)[0]
    crash = '[rank3]: Traceback (most recent call last):\n[rank3]:   File "train.py", line 1, in <module>\n'
    [log] = read(f"{text}\n{crash}[rank3]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n")
    assert (log.outcome, log.failure and log.failure["class"]) == ("failed", "OutOfMemoryError")
    assert log.failure and log.failure["line_no"] == text.count("\n") + 4


def test_a_job_that_slurm_ended_says_so(read: Read) -> None:
    killed = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-03-01T10:30:00 DUE TO TIME LIMIT ***\n"
    [log] = read(megatron(10) + megatron(20) + killed)
    assert log.outcome == "failed"
    assert log.failure and "DUE TO TIME LIMIT" in log.failure["text"]


def test_what_is_no_training_log_stays_refused(read: Read) -> None:
    text = 'iteration 3\nstep: 4\nEpoch 1: 50%|███  | 5/10 [00:01<00:01, 3.00it/s]\n{"loss": 1}\nsteps: 3 loss\n'
    assert [(log.is_a_log, log.trainer) for log in read(text)] == [(False, None)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(LOGS)), st.randoms(use_true_random=False), st.text(max_size=40))
def test_no_reader_raises_on_lines_that_are_cut_shuffled_or_garbage(
    tmp_path_factory: pytest.TempPathFactory, name: str, draw: random.Random, garbage: str
) -> None:
    whole = LOGS[name] + draw.choice(list(LOGS.values()))
    lines = whole.splitlines(keepends=True)
    draw.shuffle(lines)
    text = "".join(draw.choice((whole, "".join(lines))))
    for _ in range(draw.randrange(12)):
        start = draw.randrange(len(text) + 1)
        told = draw.choice((garbage, "nan", "9" * 400, "1e999", "-", ",", "", "\r", "}", "0"))
        text = text[:start] + told + text[start + draw.randrange(30) :]
    path = _fresh(tmp_path_factory)
    path.write_text(text, errors="surrogatepass" if garbage.isascii() else "replace")
    logs = read_logs(path)
    json.dumps([jsonable(log) for log in logs], allow_nan=False)
    log_table(logs)


def _fresh(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / "garbage.log"
