"""How long measurements took before."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from accelbench.plan.past import Past, measured_in, past, together_s, usual_s
from accelbench.plan.specs import InferRound, TrainRun

NOON = datetime.fromisoformat("2026-11-28T12:00:00+00:00")


def kept(name: str, spec: dict[str, Any], **times: Any) -> None:
    folder = Path("results/archive") / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"spec": spec, **times}))


def after(minutes: int, duration_s: float) -> Past:
    return Past("cs3", 8, NOON + timedelta(minutes=minutes), duration_s)


def test_durations_are_those_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    times = {"started_at": NOON.isoformat(), "ended_at": (NOON + timedelta(seconds=90)).isoformat()}
    kept("a", {"kind": "train", "platform": {"name": "cs3"}, "batch_size": 8}, **times, wall_s=60.5)
    kept("b", {"kind": "infer", "endpoint": {"name": "metis"}, "cell": "short-c8"}, **times)
    kept("of-another-version", {"kind": "infer"}, **times)
    found = list(past())
    assert usual_s(TrainRun("cs3", 8, 3, 2), found) == 60.5  # without the time between its tries
    assert usual_s(InferRound("metis", "short-c8", 1), found) == 90
    assert usual_s(InferRound("metis", "short-c4", 1), found) is None


def test_the_latest_measurements_tell_how_long_the_next_takes() -> None:
    long_ago = [after(minute, 10) for minute in range(9)]
    assert usual_s(TrainRun("cs3", 8, 1), [*(after(60 + minute, 100) for minute in range(3)), *long_ago]) == 100


def test_what_is_not_known_of_one_is_not_known_of_all() -> None:
    asked = [TrainRun("cs3", 8, 1), TrainRun("cs3", 8, 2)]
    assert together_s(asked, [after(0, 5)]) == (10, True)
    assert together_s([*asked, TrainRun("cs3", 16, 1)], [after(0, 5)]) == (10, False)


@pytest.mark.parametrize("item", [TrainRun("cs3", 8, 2), TrainRun("cs3", 8, 2, 4), InferRound("metis", "short-c8", 12)])
def test_a_folder_tells_what_is_measured_in_it(item: TrainRun | InferRound) -> None:
    assert measured_in(item.folder) == item
