"""Why a job failed, said where the user looks: in the rule's log, below the rule's own error, and on the terminal."""

import contextlib
import sys
from pathlib import Path


def append_reason(log: str | None, reason: str) -> None:
    """Say a reason on stderr and at the end of a rule's log, which begins with it where the rule never ran."""
    line = f"accelbench pbs: {reason}"
    print(line, file=sys.stderr)
    if log:
        with contextlib.suppress(OSError):
            Path(log).parent.mkdir(parents=True, exist_ok=True)
            with Path(log).open("a") as stream:
                stream.write(f"{line}\n")
