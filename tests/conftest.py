"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from accelbench.jobs import host_lock
from accelbench.telemetry import recorder

os.environ["OMP_NUM_THREADS"] = "1"  # torch and numpy, here and in what tests start: the workers share the cores

settings.register_profile("shared machine", deadline=None)  # an example may be slow because others work beside it
settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _alone_here() -> Iterator[None]:
    """Let this worker, and what it starts, wait neither for what others measure here nor for a quiet machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(host_lock.LOCK_NAME, f"accelbench-tests-{os.getpid()}")
        patch.setenv(recorder.MOST_S, "0")
        yield
