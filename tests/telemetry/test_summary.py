"""From readings to what a record says: shares over the span under load, the worst session, what is not known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from accelbench.telemetry.recorder import TELEMETRY
from accelbench.telemetry.summary import telemetry_of, worst

Counters = dict[str, object]


def written(folder: Path, *sessions: Sequence[Counters], facts: Counters | None = None, source: str = "host") -> Path:
    """Write sessions whose readings lie a second apart, the first at Unix time 1000."""
    lines: list[dict[str, object]] = []
    at_s = 0.0
    for readings in sessions:
        told = {"host": {"cores": 4, "why": None}, source: {"cores": 4, "why": None, **(facts or {})}}
        lines.append({"started_unix_s": 1000.0 + at_s, "at_s": at_s, **told})
        for reading in readings:
            lines.append({"at_s": at_s, "host": {"busy_s": 0.0, "own_s": 0.0}, source: reading})
            at_s += 1.0
        lines.append({"ended_s": at_s, "recorder_s": 0.004 * len(readings)})
    (folder / TELEMETRY).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return folder


def counted(busy_s: Sequence[float], own_s: Sequence[float]) -> list[Counters]:
    return [{"busy_s": busy, "own_s": own} for busy, own in zip(busy_s, own_s, strict=True)]


@pytest.mark.parametrize(
    ("busy_s", "own_s", "share"), [(2.0, 2.0, 0.0), (4.0, 0.0, 0.5), (8.0, 2.0, 0.75), (1.9, 2.0, 0.0), (9.0, 0.0, 1.0)]
)
def test_what_is_not_ours_is_of_others(tmp_path: Path, busy_s: float, own_s: float, share: float) -> None:
    found = telemetry_of(
        written(tmp_path, counted([100, 100 + busy_s / 2, 100 + busy_s], [50, 50 + own_s, 50 + own_s]))
    )
    assert found and found.host_activity and found.host_activity["share_of_others"] == share


def test_only_the_span_under_load_counts(tmp_path: Path) -> None:
    busy = [0, 4, 8, 8, 8, 8, 12, 16]
    found = telemetry_of(written(tmp_path, counted(busy, [0] * 8)), [(1002.2, 1004.8)])
    assert found and found.host_activity
    assert found.host_activity["share_of_others"] == 0.0 and found.host_activity["wall_s"] == 3.0


def test_each_session_has_its_own_span_and_the_busiest_counts(tmp_path: Path) -> None:
    quiet, busy = counted([0, 4, 4, 4], [0] * 4), counted([4, 4, 6, 8], [0] * 4)
    found = telemetry_of(written(tmp_path, quiet, busy), [(1001.0, 1003.0), (1005.0, 1007.0)])
    assert found and found.host_activity and found.host_activity["share_of_others"] == 0.5


def test_stolen_time_and_waiting_are_shares_of_the_span(tmp_path: Path) -> None:
    waited = [{"cpu": 1.0, "memory": 0.0, "io": 5.0}, {"cpu": 1.5, "memory": 0.0, "io": 5.2}]
    readings = [{"busy_s": 0.0, "own_s": 0.0, "steal_s": 0.1 * n, "pressure_s": at} for n, at in enumerate(waited)]
    found = telemetry_of(written(tmp_path, readings))
    assert found and found.host_activity
    assert found.host_activity["steal_share"] == 0.025
    assert found.host_activity["waiting_share"] == {"cpu": 0.5, "memory": 0.0, "io": 0.2}


def test_what_can_be_read_at_neither_end_is_null(tmp_path: Path) -> None:
    found = telemetry_of(written(tmp_path, counted([0, 1], [0, 1])))
    assert found and found.host_activity
    assert found.host_activity["steal_share"] is None and found.host_activity["waiting_share"] is None
    assert found.host_activity["throttled"] is None and found.host_activity["least_available_bytes"] is None


def test_a_reason_makes_the_share_of_others_unknown(tmp_path: Path) -> None:
    found = telemetry_of(written(tmp_path, counted([0, 1], [0, 1]), facts={"why": "another user's"}))
    assert found and found.host_activity
    assert found.host_activity["share_of_others"] is None and found.host_activity["why"] == "another user's"


def test_memory_and_the_recorders_own_cost_are_told(tmp_path: Path) -> None:
    readings = [{"busy_s": 0, "own_s": 0, "program_bytes": held} for held in (5, 70, 30)]
    found = telemetry_of(written(tmp_path, readings))
    assert found and found.surroundings["program_peak_bytes"] == 70
    assert found.surroundings["recorder_share"] == pytest.approx(0.004)


def test_what_the_server_showed_is_added_up_over_the_sessions(tmp_path: Path) -> None:
    def shown(*waiting: int) -> list[Counters]:
        return [
            {"waiting": n, "generated_tokens": 100.0 + 10 * at, "prefix_hits": at, "prefix_queries": 4 * at}
            for at, n in enumerate(waiting)
        ]

    found = telemetry_of(written(tmp_path, shown(0, 3, 1), shown(0, 0), source="server"))
    assert found and found.surroundings["server"]
    server = found.surroundings["server"]
    assert (server["most_waiting"], server["generated_tokens"], server["prefix_hit_share"]) == (3, 30.0, 0.25)
    assert server["requests"] is None and server["preemptions"] is None


def test_energy_is_that_of_all_sessions_under_load_and_unknown_where_one_was_not_read(tmp_path: Path) -> None:
    facts: Counters = {"scopes": {"0": {"scope": "CPU package 0", "wraps_j": None}}}
    read: list[Counters] = [{"0.energy_j": 50.0 * at} for at in range(5)]
    spans = [(1001.0, 1003.0), (1006.0, 1008.0)]
    whole = telemetry_of(written(tmp_path, read, read, facts=facts, source="powercap"), spans)
    assert whole and [(e["scope"], e["joules"], e["wall_s"]) for e in whole.surroundings["energy"]] == [
        ("CPU package 0", 200.0, 4.0)
    ]
    lost = telemetry_of(written(tmp_path, read, [{}] * 5, facts=facts, source="powercap"), spans)
    assert lost and lost.surroundings["energy"][0]["joules"] is None
    assert "not read" in str(lost.surroundings["energy"][0]["why"])


def test_the_idle_seconds_around_a_run_are_no_part_of_it(tmp_path: Path) -> None:
    facts: Counters = {"scopes": {"0": {"scope": "CPU package 0", "wraps_j": None}}}
    read: list[Counters] = [{"0.energy_j": joules} for joules in (0.0, 1.0, 2.0, 102.0, 202.0, 203.0, 204.0)]
    found = telemetry_of(written(tmp_path, read, facts=facts, source="powercap"))
    assert found and found.surroundings["energy"][0]["joules"] == 200.0
    (tmp_path / TELEMETRY).unlink()
    found = telemetry_of(written(tmp_path, counted([0, 0, 0, 0, 0, 0], [0] * 6), facts={"scopes": {}}))
    assert found and found.host_activity and found.host_activity["wall_s"] == 5.0


def test_the_fullest_card_is_told(tmp_path: Path) -> None:
    facts: Counters = {"scopes": {"0": {}, "1": {}}}
    read: list[Counters] = [{"0.memory_bytes": 5, "1.memory_bytes": 9}, {"0.memory_bytes": 7, "1.memory_bytes": 2}]
    found = telemetry_of(written(tmp_path, read, facts=facts, source="gpu"))
    assert found and found.surroundings["gpu_peak_bytes"] == 9


def test_without_telemetry_nothing_is_said(tmp_path: Path) -> None:
    assert telemetry_of(tmp_path) is None


def session(share: float | None, why: str | None = None) -> dict[str, Any]:
    return {"share_of_others": share, "why": why}


def test_of_several_sessions_the_worst_counts_and_an_unknown_one_is_said() -> None:
    assert worst([session(0.01), session(0.4), session(0.2)]) == session(0.4)
    assert worst([None, session(0.4), session(None, "too short")]) == session(0.4, "not known of 2 of 3 sessions")
    assert worst([None, session(None, "too short")]) == session(None, "too short")
    assert worst([None]) is None and worst([]) is None
