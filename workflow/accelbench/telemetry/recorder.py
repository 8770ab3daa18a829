"""Around a measurement: a wait for a quiet host, a process that records beside it, and its file read back.

The recorder begins before and ends after the measurement, and can't spoil it. Its process (`python -m
accelbench.telemetry.recorder FILE`) is told on standard input what to watch. It writes a header, one line per reading
and a last line to telemetry.jsonl, prints a line once the first reading is in the file, and ends when its standard
input does, however its parent ended. Times are of the monotonic clock, and the header ties them to the wall clock. A
measurement longer than an hour is read less often, so that a day's file stays under 10 MB. The file holds one session
for each time that its measurement was begun or resumed.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from accelbench import foreign
from accelbench.foreign import as_number
from accelbench.jobs.process import PACKAGE_PARENT
from accelbench.store.records import JsonObject
from accelbench.telemetry.sources import SOURCES
from accelbench.telemetry.sources.host import Host
from accelbench.telemetry.sources.source import Source, Watched

MOST_S = "ACCELBENCH_QUIET_WAIT_S"  # for tests, which must not wait for what else a machine does
_MOST_S, _FIRST_LOOK_S, _LOOK_S = 60.0, 0.5, 2.0
_IN_VAIN = ".snakemake/accelbench.waited.{host}"
_IN_VAIN_FOR_S = 600.0  # so that a host that stays busy delays a run of many measurements by a minute in ten


def wait_until_quiet(name: str, what: Watched, most_others: float) -> None:
    """Return when other programs use no more than a share of all CPU time, or after a minute; say that it waits.

    A host that is quiet at the first look, of half a second, delays nothing; later looks take 2 s. Where the share is
    not known, or where a measurement of this folder waited in vain within the last ten minutes, there is no wait.
    """
    most_s = float(os.environ.get(MOST_S, _MOST_S))
    if most_s <= 0:
        return
    host, begun_s = Host(what), time.monotonic()
    share = _share_of_others(host, _FIRST_LOOK_S)
    if share is None or share <= most_others:
        return
    in_vain = Path(_IN_VAIN.format(host=socket.gethostname()))
    if in_vain.exists() and time.time() - in_vain.stat().st_mtime < _IN_VAIN_FOR_S:
        print(f"{name}: other programs use {share:.0%} of the CPU time; an earlier wait did not help", flush=True)
        return
    print(
        f"{name}: waiting up to {most_s:.0f} s, as other programs use {share:.0%} of the CPU time",
        flush=True,
    )
    while share is not None and share > most_others and time.monotonic() - begun_s < most_s:
        share = _share_of_others(host, _LOOK_S)
    if share is not None and share > most_others:
        in_vain.parent.mkdir(exist_ok=True)
        in_vain.touch()


def _share_of_others(host: Host, look_s: float) -> float | None:
    facts = host.facts()
    if facts.get("why"):
        return None
    before, begun_s = host.read(), time.monotonic()
    time.sleep(look_s)
    after, lasted_s = host.read(), time.monotonic() - begun_s
    busy_s, own_s = ((as_number(after[key]) or 0.0) - (as_number(before[key]) or 0.0) for key in ("busy_s", "own_s"))
    return (busy_s - own_s) / ((as_number(facts["cores"]) or 1) * lasted_s)


TELEMETRY = "telemetry.jsonl"
IDLE_WAIT_S = 2.0  # before and after the measurement, where power is read
_BEGINS_S, _ENDS_S = 20.0, 5.0  # within which a recorder has begun and ended, or is done without


def recorded(folder: Path) -> list[str]:
    """Return the recorder's raw file by its name, if there is one."""
    return [TELEMETRY] if (folder / TELEMETRY).exists() else []


@contextmanager
def recording(folder: Path, what: Watched) -> Iterator[None]:
    """Record into the folder's telemetry.jsonl, after what earlier sessions wrote, until the block is left."""
    process, power = _begun(folder / TELEMETRY, what)
    try:
        if power:
            time.sleep(IDLE_WAIT_S)
        yield
        if power:
            time.sleep(IDLE_WAIT_S)
    finally:
        if process:
            _end(process)


def _begun(path: Path, what: Watched) -> tuple[subprocess.Popen[bytes] | None, bool]:
    """Start a recorder and wait for its first reading; return it, and whether it reads power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [PACKAGE_PARENT, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "accelbench.telemetry.recorder", str(path)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    except OSError as error:
        print(f"{path}: the recorder can't be started: {error.strerror}", file=sys.stderr, flush=True)
        return None, False
    assert process.stdin and process.stdout
    with suppress(OSError):
        process.stdin.write(orjson.dumps(asdict(what), option=orjson.OPT_APPEND_NEWLINE))
        process.stdin.flush()
    readable, _, _ = select.select([process.stdout], [], [], _BEGINS_S)
    return process, bool(readable) and process.stdout.readline() == b"power\n"


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin and process.stdout
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source showed at a time."""

    at_unix_s: float
    shown: JsonObject

    def number(self, key: str) -> float | None:
        """Return a figure of the reading; None where it is none, or isn't there."""
        return foreign.as_number(self.shown.get(key))


@dataclass(frozen=True, slots=True)
class Session:
    """All readings of a recorder, by source, in order, and what each source says of itself."""

    facts: dict[str, JsonObject]
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    recorder_share: float | None = None
    """The recorder's own CPU time, as a share of one core; None where it did not end by itself."""

    def between(self, source: str, begin_unix_s: float, end_unix_s: float) -> Sequence[Reading]:
        """Return a source's readings during a span, with the last before it and the first after it."""
        own = self.readings.get(source, [])
        first = max((n for n, reading in enumerate(own) if reading.at_unix_s <= begin_unix_s), default=0)
        last = min((n for n, reading in enumerate(own) if reading.at_unix_s >= end_unix_s), default=len(own) - 1)
        return own[first : last + 1]


def read_telemetry(path: Path) -> list[Session]:
    """Return all sessions of a file; none where there is no file. What a recorder left torn is left out."""
    found: list[Session] = []
    offset_s = begun_s = 0.0
    for line in _lines(path):
        if "started_unix_s" in line:
            begun_s, offset_s = line["at_s"], line["started_unix_s"] - line["at_s"]
            found.append(Session({name: facts for name, facts in line.items() if isinstance(facts, dict)}))
        elif found and "ended_s" in line:
            lasted_s = line["ended_s"] - begun_s
            found[-1] = _ended(found[-1], line["recorder_s"] / lasted_s if lasted_s > 0 else None)
        elif found and "at_s" in line:
            for name in found[-1].facts.keys() & line.keys():
                found[-1].readings.setdefault(name, []).append(Reading(line["at_s"] + offset_s, line[name]))
    return found


def _ended(session: Session, recorder_share: float | None) -> Session:
    return Session(session.facts, session.readings, recorder_share)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            yield found


INTERVAL_S, LATER_INTERVAL_S, LATER_S = 0.5, 5.0, 3600.0


def main() -> None:
    """Record until standard input ends."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    told = sys.stdin.buffer.readline()
    if not told:
        return
    sources = {name: source(Watched(**orjson.loads(told))) for name, source in SOURCES.items()}
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    started_s, spent_s = time.monotonic(), _spent_s()
    _write(file, {"started_unix_s": time.time(), "at_s": started_s, **{n: s.facts() for n, s in sources.items()}})
    due_s = dict.fromkeys(sources, 0.0)
    _write(file, _sample(sources, due_s))
    print("power" if any(source.shows_power for source in sources.values()) else "ready", flush=True)
    while not _input_ended(LATER_INTERVAL_S if time.monotonic() - started_s > LATER_S else INTERVAL_S):
        _write(file, _sample(sources, due_s))
    _write(file, _sample(sources, dict.fromkeys(sources, 0.0)))
    _write(file, {"ended_s": time.monotonic(), "recorder_s": round(_spent_s() - spent_s, 3)})


def _sample(sources: dict[str, Source], due_s: dict[str, float]) -> JsonObject:
    """Read all sources that are due."""
    sample: dict[str, object] = {"at_s": (now_s := time.monotonic())}
    for name, source in sources.items():
        if now_s >= due_s[name]:
            due_s[name] = now_s + source.interval_s - INTERVAL_S / 2
            sample[name] = source.read()
    return sample


def _input_ended(wait_s: float) -> bool:
    """Wait, and tell whether standard input ended meanwhile."""
    readable, _, _ = select.select([sys.stdin.buffer], [], [], wait_s)
    return bool(readable)


def _spent_s() -> float:
    return sum(os.times()[:2])


def _write(file: int, line: JsonObject) -> None:
    os.write(file, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # whatever it is, it must not reach the measurement
        print(f"{Path(sys.argv[1]).name}: the recorder ended: {type(error).__name__}: {error}", file=sys.stderr)
