"""Waiting for a quiet host before a measurement begins, never during one."""

import os
import socket
import time
from pathlib import Path

from accelbench.foreign_json import as_number
from accelbench.telemetry.sources.host import Host
from accelbench.telemetry.sources.source import Watched

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
        f"{name}: waiting up to {most_s:.0f} s, as other programs use {share:.0%} of the CPU time "
        "(set measurement.when_busy: label to measure at once)",
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
