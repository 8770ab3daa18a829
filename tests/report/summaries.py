"""Summaries of made-up requests, which lie in the working directory as classifying leaves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelbench.analysis.evidence import evidence_of
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load_curve import load_curves
from accelbench.analysis.sweep import sweeps_of
from accelbench.report.summary import Summary, shown_of
from accelbench.store import paths
from accelbench.store.records import InferRoundRecord, RequestRecord
from accelbench.store.requests import Requests, writing_requests

from ..analysis.records import sides


def summary_of(
    rounds: Sequence[InferRoundRecord], requests: Sequence[RequestRecord], rows: Sequence[InferenceRow], **given: Any
) -> Summary:
    """Write the requests of each round, and return what is told of them."""
    empty: dict[str, Any] = {"title": "t", "runs": [], "training": [], "labels": {}, "hardware": {}, "prompts": {}}
    with writing_requests(Path(paths.REQUESTS)) as keep:
        for each in rounds:
            keep(r for r in requests if (r.endpoint, r.cell, r.round) == (each.endpoint, each.cell, each.round))
    placed = sides(rounds, requests, rows)
    return Summary(
        **{
            **empty,
            "rounds": list(rounds),
            "inference": list(rows),
            "curves": load_curves(rows, placed),
            "sweeps": sweeps_of(given.get("runs", [])),
            "evidence": evidence_of(rounds, placed),
            "shown": shown_of(Requests.of(requests)),
            **given,
        }
    )
