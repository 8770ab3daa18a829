"""Lines of training logs as the tests write them, and the reader on them."""

from datetime import datetime, timedelta

import pytest

from accelbench.store.records import ParsedLog
from accelbench.training.log.reader import read_log

T0 = datetime(2026, 1, 31, 23, 59, 0)


def at(seconds: float, message: str, level: str = "INFO") -> str:
    stamp = T0 + timedelta(seconds=seconds)
    return f"{stamp:%Y-%m-%d %H:%M:%S},{stamp.microsecond // 1000:03d} {level}:   {message}"


def trained(step: int, loss: float = 7.0, rate: float = 8.0, global_rate: float = 8.0, device: str = "cpu") -> str:
    return (
        f"| Train Device={device}, Step={step}, Loss={loss:.5f}, Rate={rate:.2f} samples/sec, "
        f"GlobalRate={global_rate:.2f} samples/sec, LoopTimeRemaining=0:00:06, TimeRemaining=0:00:06"
    )


GOOD = (
    at(0, "Effective batch size is 8."),
    at(1, "Starting train loop 1 of 1, from global step 1 to 20 (20 steps)"),
    at(11, trained(10, 6.5)),
    at(21, trained(20, 6.0)),
    at(22, "Training completed successfully!"),
    at(23, "Processed 160 training sample(s) in 22.000000001 seconds."),
)
CRASH = ("Traceback (most recent call last):", '  File "run.py", line 1, in <module>', "    raise x")


@pytest.fixture
def parse(tmp_path):
    def parse(*lines: str, end: str = "\n", **options) -> ParsedLog:
        path = tmp_path / "run.log"
        path.write_bytes((end.join(lines) + end).encode())
        return read_log(path, **options)

    return parse


def doubts(log: ParsedLog) -> set[str]:
    return {check.what for check in log.checks}
