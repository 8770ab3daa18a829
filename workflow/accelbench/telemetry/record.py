"""The recorder's process: `python -m accelbench.telemetry.record FILE`, told on standard input what to watch.

It writes a header, one line per reading and a last line, prints a line once the first reading is in the file, and ends
when its standard input does, however its parent ended. Times are of the monotonic clock, and the header ties them to
the wall clock. A measurement longer than an hour is read less often, so that a day's file stays under 10 MB.
"""

import os
import select
import signal
import sys
import time
from pathlib import Path

import orjson

from accelbench.store.records import JsonObject
from accelbench.telemetry.sources import SOURCES
from accelbench.telemetry.sources.source import Source, Watched

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
    while not _ended(LATER_INTERVAL_S if time.monotonic() - started_s > LATER_S else INTERVAL_S):
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


def _ended(wait_s: float) -> bool:
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
