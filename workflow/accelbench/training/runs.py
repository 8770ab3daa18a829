"""All training runs of a config, parsed: steps.csv and summary.json per run, and one record each."""

import csv
import io
from pathlib import Path
from typing import Any

import orjson
import yaml

from accelbench import paths, specs
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.files import read_json, write_atomically, write_json
from accelbench.measurement import check
from accelbench.records import TrainRunRecord
from accelbench.training.log import parse_log


def parse_runs(config: Config, *, partial: bool = False) -> list[TrainRunRecord]:
    """Parse the log of every planned run and return what became of each.

    A run that is missing or was measured under another spec raises UserError, or, when `partial`, is returned
    with its state and the reason.
    """
    records = []
    for run in specs.train_runs(config):
        try:
            records.append(_measured(config, run))
        except UserError as error:
            if not partial:
                raise
            records.append(_unmeasured(run, str(error)))
    return records


def _measured(config: Config, run: specs.TrainRun) -> TrainRunRecord:
    folder = paths.train_run(run.platform, run.batch, run.repeat)
    measured = check(folder, specs.train(config, run))
    try:
        record = read_json(folder / "run.json")
        summary = parse_log(folder / "run.log", batch_size=run.batch).to_json()
    except (OSError, orjson.JSONDecodeError):
        raise UserError(
            f"{folder}: run.json or run.log is gone or broken. Delete measured.json; then run it again."
        ) from None
    write_json(folder / "summary.json", {**summary, "spec": measured["spec"]})
    write_atomically(folder / "steps.csv", _steps_csv(summary["steps"], summary["held_out"]))
    return TrainRunRecord(
        run.platform,
        run.batch,
        run.repeat,
        "measured",
        None,
        measured_at=measured["measured_at"],
        restored_at=measured["restored_at"],
        seed=measured["spec"]["seed"],
        log=summary,
        host=record["host"],
        trainer=record["trainer"],
        model=model_of(folder / "params.yaml"),
    )


def model_of(params: Path) -> dict[str, Any] | None:
    """Return the model of a params file; None where the file or the model can't be read."""
    try:
        return dict(yaml.safe_load(params.read_text())["trainer"]["init"]["model"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _unmeasured(run: specs.TrainRun, why: str) -> TrainRunRecord:
    """Say what is there of a run without a valid result: a refused one, a failed one's record, or nothing."""
    folder = paths.train_run(run.platform, run.batch, run.repeat)
    if (folder / "measured.json").exists():
        return TrainRunRecord(run.platform, run.batch, run.repeat, "refused", why)
    if (folder / "run.json").exists():
        return TrainRunRecord(run.platform, run.batch, run.repeat, "failed", _failure(folder / "run.json"))
    return TrainRunRecord(run.platform, run.batch, run.repeat, "missing", "not measured yet")


def _failure(path: Path) -> str:
    try:
        record = read_json(path)
        status = record["exit_status"]
        ended = "the log breaks off" if status is None else f"exit status {status}"
        text = record["failure"]["text"] if record["failure"] else ended
        return f"{record['outcome']}: {text}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"{path} can't be read"


def _steps_csv(steps: Any, held_out: Any) -> str:
    """Return the progress lines and, in rows of their own, the evaluations."""
    columns = ["step", "t_s", "loss", "rate", "global_rate", "held_out_loss"]
    evaluations = [{"step": row["step"], "t_s": row["t_s"], "held_out_loss": row["loss"]} for row in held_out]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*steps, *evaluations], key=lambda row: row["step"] or 0))
    return text.getvalue()
