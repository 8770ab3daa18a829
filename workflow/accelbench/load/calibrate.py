"""The client's own error under each planned load, measured and recorded."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from accelbench.analysis.calibration import client_error
from accelbench.errors import UserError
from accelbench.inference import calibration
from accelbench.inference.calibration import BenchLoad
from accelbench.plan.measurement import host, measuring, now
from accelbench.store.files import write_json

_RECORD = "calibration.json"


def calibrate(loads: Sequence[BenchLoad], folder: Path) -> dict[str, Any]:
    """Put the client under each load against a truth server; write calibration.json and return it.

    https is skipped, and said to be, where openssl can't make a certificate. Raises UserError: nothing to calibrate.
    """
    if not loads:
        raise UserError(
            "no endpoint is asked under any load (inference.run); name --concurrency, or a config with one."
        )
    with measuring(folder):
        record: dict[str, Any] = {
            "spec": orjson.loads(calibration.spec(loads)),
            "measured_at": now(),
            "host": host(),
            "loads": [],
            "skipped": [],
        }
        for load in loads:
            if load.https and not calibration.can_make_certificates():
                record["skipped"].append({"load": load.name, "why": "openssl is not installed"})
                continue
            print(f"calibrating: {load.name}", file=sys.stderr, flush=True)
            record["loads"].append({"load": load.name, "cells": load.cells, **_row(load, folder)})
    write_json(folder / _RECORD, record)
    return record


def _row(load: BenchLoad, folder: Path) -> dict[str, Any]:
    with calibration.workbench(folder) as bench:
        client = calibration.record(load, bench)
        return {**client_error(calibration.recorded_requests(bench)), "client": client}
