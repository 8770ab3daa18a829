"""All training runs of a config, parsed: steps.csv and summary.json per run, and one record each."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.foreign import read_yaml
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED, check, how_to_measure
from accelbench.plan.past import unmeasured
from accelbench.store import paths
from accelbench.store.files import jsonable, read_json, write_atomically, write_json
from accelbench.store.records import DatasetFacts, JsonObject, ParsedLog, TrainRunRecord
from accelbench.telemetry.energy import PowerCsv, read_power
from accelbench.telemetry.recorder import TELEMETRY
from accelbench.telemetry.summary import UnixSpan, telemetry_of, with_power
from accelbench.training.backends import backend_of
from accelbench.training.log.model_dir import prefer
from accelbench.training.tries import RunFile, read_run_file


def parse_runs(config: Config, *, partial: bool = False) -> list[TrainRunRecord]:
    """Parse the log of every planned run and return what became of each.

    A run that is missing or was measured under another spec raises UserError, or, when `partial`, is returned
    with its state and the reason.
    """
    platforms = {name: config.training.platforms[name] for name in config.training.run}
    powers = {name: read_power(each.power_csv, each.power_scope) for name, each in platforms.items()}
    records = []
    for run in specs.train_runs(config):
        try:
            records.append(_measured(config, run, powers[run.platform]))
        except UserError as error:
            if not partial:
                raise
            records.append(_unmeasured(config, run, error))
    return records


def _measured(config: Config, run: specs.TrainRun, power: PowerCsv | None) -> TrainRunRecord:
    folder = run.folder
    measured = check(folder, specs.train_spec(config, run))
    spec = measured["spec"]
    record, backend = read_run_file(folder / "run.json"), backend_of(config, run.platform)
    found = telemetry_of(folder) if TELEMETRY in measured["raw_sha256"] else None
    log = prefer(backend.read(folder / "run.log", run), record["trainer"])
    write_json(folder / "summary.json", {**jsonable(log), "spec": spec})
    write_atomically(folder / "steps.csv", _steps_csv(log))
    return TrainRunRecord(
        run.platform,
        run.batch,
        run.repeat,
        "measured",
        None,
        measured_at=measured["measured_at"],
        restored_at=measured["restored_at"],
        seed=spec["seed"],
        log=log,
        host=record["host"],
        trainer=record["trainer"],
        model=model_of(folder / "params.yaml"),
        micro_batch_size=_micro_batch_size(config, run),
        **_factors(spec),
        dataset=_corpus(run.length) if spec["corpus"] else record.get("dataset"),
        busy=_busy(record) if backend.trains_here else (),
        host_activity=found.host_activity if found else record.get("host_activity"),
        surroundings=with_power(
            found.surroundings if found else None, power, _unix(_busy(record) if backend.platform.trains else ())
        ),
        initial_weights=backend.initial_weights,
        length=run.length,
    )


def _busy(record: RunFile) -> tuple[tuple[str, str], ...]:
    """Return from when to when each try of a run lasted."""
    spans = [(one.started_at, one.ended_at) for one in record["tries"]] or [(record["started_at"], record["ended_at"])]
    return tuple((started_at, ended_at) for started_at, ended_at in spans if ended_at)


def _unix(spans: Sequence[tuple[str, str]]) -> list[UnixSpan]:
    """Return the spans in Unix time."""
    return [
        (datetime.fromisoformat(begin).timestamp(), datetime.fromisoformat(end).timestamp()) for begin, end in spans
    ]


def model_of(params: Path) -> JsonObject | None:
    """Return the model of a params file; None where the file or the model can't be read."""
    try:
        return dict(read_yaml(params)["trainer"]["init"]["model"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _micro_batch_size(config: Config, run: specs.TrainRun) -> int | None:
    """Return the micro batch that the config sets; a log that was brought along has only the one it is named by."""
    trains = config.training.platforms[run.platform].trains
    return config.training.settings(run.batch, run.micro).micro_batch_size if trains else run.micro


def _factors(spec: Mapping[str, Any]) -> dict[str, float]:
    """Return the factors that a run trained with; specs leave out a factor of 1."""
    if spec["model"] is None:
        return {}
    return {name: float(Fraction(spec.get(name, "1"))) for name in ("lr_factor", "schedule_factor")}


def _corpus(length: int | None) -> DatasetFacts:
    """Return what the prepared corpus holds: the one whose digest stands in the spec."""
    corpus = read_json(paths.corpus_facts())
    corpus = corpus["lengths"][str(length)] if length else corpus
    return DatasetFacts(n_samples=corpus["n_train"], sequence_length=corpus["sequence_length"], why_unknown=None)


def _unmeasured(config: Config, run: specs.TrainRun, error: UserError) -> TrainRunRecord:
    """Say what is there of a run without a valid result."""
    state, why = unmeasured(run.folder, error)
    return TrainRunRecord(
        run.platform,
        run.batch,
        run.repeat,
        state,
        why or _not_there(config, run),
        micro_batch_size=_micro_batch_size(config, run),
        initial_weights=backend_of(config, run.platform).initial_weights,
        length=run.length,
    )


def _not_there(config: Config, run: specs.TrainRun) -> str:
    """Say what a run waits for: to be run, or for a log that is brought along."""
    backend = backend_of(config, run.platform)
    log = backend.platform.log(run.batch, run.repeat, run.micro)
    if log is None:
        profile = config.cluster.profile if backend.own_node else None
        site = backend.platform.label or run.platform
        return f"not measured yet; {how_to_measure(run.folder / MEASURED, site, profile)}"
    return f"{log} is not read yet" if log.exists() else f"there is no {log}, which {backend.key}.logs names"


def _steps_csv(log: ParsedLog) -> str:
    """Return the progress lines and, in rows of their own, the evaluations."""
    rows: list[tuple[float | None, ...]] = [
        *((row.step, row.t_s, row.loss, row.rate, row.global_rate, None) for row in log.steps),
        *((row.step, row.t_s, None, None, None, row.loss) for row in log.held_out),
    ]
    rows.sort(key=lambda row: row[0] or 0)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "t_s", "loss", "rate", "global_rate", "held_out_loss"])
    writer.writerows(rows)
    return text.getvalue()
