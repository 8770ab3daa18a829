"""failure.json: why the last try of a round ended without a result."""

import datetime
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelbench import paths, specs
from accelbench.errors import UserError
from accelbench.files import read_record, write_json
from accelbench.inference.readiness import NotReadyError
from accelbench.measurement import now
from accelbench.process import WORKFLOW_PID

FAILURE = "failure.json"
RECENT = datetime.timedelta(minutes=10)


def write_failure(folder: Path, spec: str, error: UserError) -> None:
    """Record why a round ended; a disk that is full must not hide the reason."""
    record = {
        "spec_digest": specs.digest(spec),
        "at": now(),
        "text": str(error),
        "not_ready": isinstance(error, NotReadyError),
        "workflow": os.environ.get(WORKFLOW_PID),
    }
    with suppress(OSError):
        write_json(folder / FAILURE, record)


def waited_in_vain(endpoint: str) -> str | None:
    """Name a round of this run that waited for the endpoint in vain within the last ten minutes, if one did."""
    pattern = paths.INFER_ROUND.format(endpoint=endpoint, cell="*", round="*")
    for path in sorted(Path().glob(f"{pattern}/{FAILURE}")):
        if _is_recent(read_record(path)):
            return str(path.parent)
    return None


def _is_recent(failure: dict[str, Any]) -> bool:
    in_this_run = failure.get("workflow") == os.environ.get(WORKFLOW_PID)
    if not failure.get("not_ready") or not in_this_run or "at" not in failure:
        return False
    at = datetime.datetime.fromisoformat(failure["at"])
    return datetime.datetime.now().astimezone() - at < RECENT
