"""Results that were joined from several sites: records that Snakemake takes for up to date, and are not.

The runs.jsonl and rounds.jsonl of one site replace the other's, and are newer than what they should list; and of what
was measured elsewhere there is no metadata that would show another spec.
"""

from collections.abc import Sequence
from pathlib import Path

from accelbench import paths, specs
from accelbench.config import Config
from accelbench.files import read_json, read_jsonl
from accelbench.measurement import MEASURED

Planned = Sequence[tuple[Path, str]]
"""Folder and spec of each measurement."""


def unread(config: Config) -> set[str]:
    """Return the rules to run anew: their records are not of the planned measurements, though all of these are there."""
    runs = [(run.folder, specs.train(config, run)) for run in specs.train_runs(config)]
    rounds = [
        (paths.infer_round(item.endpoint, item.cell, item.round), specs.infer(config, item))
        for item in specs.infer_rounds(config)
    ]
    listed = (("parse", paths.RUNS, runs), ("classify", paths.ROUNDS, rounds))
    return {rule for rule, records, planned in listed if _are_others(Path(records), planned)}


def _are_others(records: Path, planned: Planned) -> bool:
    try:
        measured = [read_json(folder / MEASURED) for folder, _ in planned]
        listed = [record["measured_at"] for record in read_jsonl(records)]
        if listed != [record["measured_at"] for record in measured]:
            return True
        return any(
            specs.PENDING not in spec and record["spec_digest"] != specs.digest(spec)
            for record, (_, spec) in zip(measured, planned, strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # something is not there: Snakemake makes it
