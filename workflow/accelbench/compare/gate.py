"""A gate for CI: is a new endpoint worse than the one before by more than a limit?

It passes where every interval lies below the limit. It fails where a metric is significantly worse, corrected for all
that are asked about, and may lie beyond the limit. Otherwise it is undecided. Worse: longer times, lower shares.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from accelbench.analysis.intervals import Comparison, Estimate
from accelbench.analysis.metrics import judged_metrics
from accelbench.analysis.pairs import Pair
from accelbench.analysis.verdicts import ALPHA, Needed, holm, rounds_needed, smallest_detected
from accelbench.compare.endpoints import read_pairs
from accelbench.errors import UserError
from accelbench.foreign import one_line
from accelbench.report.text import number

Decision = Literal["passes", "worse", "undecided"]
STATUS: dict[Decision, int] = {"passes": 0, "worse": 1, "undecided": 3}
_SAID = {"passes": "passes", "worse": "worse", "undecided": "can't tell"}
_DIGITS = 2
_MOST_ROUNDS = 200  # the most that is recommended


@dataclass(frozen=True, slots=True)
class Gated:
    """One metric under one load. `change` is above 1 (a ratio) or 0 (a share) where the new endpoint is worse."""

    metric: str
    load: str
    outcome: Decision
    change: Estimate | None
    p_value: float | None
    """Of no change, corrected for all metrics and loads."""
    smallest_detected: float | None
    """The smallest change that as many rounds detect with a power of 80 %, as a share."""
    needed: Needed | None
    """The rounds that would decide; null where it is decided, or where nothing varied."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the new endpoint may pass, and why."""

    outcome: Decision
    limit: float
    results: list[Gated]
    notes: list[str]


def gate(base: Path, new: Path, metrics: Sequence[str], limit: float) -> Gate:
    """Gate what was measured of a new endpoint against the one before; `limit` is a share: 0.05.

    Raises UserError when a metric is unknown, or when the two have no requests of one load.
    """
    if unknown := [metric for metric in metrics if metric not in judged_metrics()]:
        raise UserError(f"--metric {unknown[0]} is unknown; choose from {', '.join(judged_metrics())}.")
    found = read_pairs([base, new])
    if len(found.sides) != 2:
        raise UserError(f"{base} and {new} hold {len(found.sides)} endpoints; name two files or folders of one each.")
    if not found.pairs:
        raise UserError(f"{base} and {new} have no load in common of which both hold single requests.")
    asked = {(pair.ours.cell, metric): pair for pair in found.pairs for metric in dict.fromkeys(metrics)}
    changes = {at: worsening(pair.tested[at[1]]) for at, pair in asked.items() if at[1] in pair.tested}
    outcomes = decide(changes, limit)
    several = len(found.pairs) > 1
    results = [
        _gated(at, pair, changes[at], *outcomes[at], limit, ALPHA / len(changes), several=several)
        if at in changes
        else _without(at, pair, several=several)
        for at, pair in asked.items()
    ]
    outcome = max((result.outcome for result in results), key=["passes", "undecided", "worse"].index)
    return Gate(outcome, limit, results, [*map(one_line, found.remarks), *_notes(found.pairs)])


def limit_of(text: str) -> float:
    """Return a limit that is written as 5% or 0.05. Raises UserError for anything else."""
    number_, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        limit = float(number_) / (100 if percent else 1)
    except ValueError:
        limit = 0.0
    if not 0 < limit < 1:
        raise UserError(f"--worse-by is {text}; write a share between 0 and 1, such as 5% or 0.05.")
    return limit


def worsening(found: Comparison) -> Comparison:
    """Return a comparison that is above its zero where ours is worse: shares are turned round."""
    return found if found.scale == "ratio" else replace(found, centre=-found.centre)


def decide(
    changes: Mapping[tuple[str, str], Comparison], limit: float
) -> dict[tuple[str, str], tuple[Decision, float | None]]:
    """Return the outcome of each change, all of them one family, and its p-value corrected for it.

    Where stragglers leave no interval, only a change that itself is beyond the limit can be worse.
    """
    corrected = holm({"/".join(at): change.p_value for at, change in changes.items()})
    found: dict[tuple[str, str], tuple[Decision, float | None]] = {}
    for at, change in changes.items():
        p, interval, beyond = corrected["/".join(at)], change.interval(), _beyond(change, limit)
        outcome: Decision = "undecided"
        if interval and interval[1] < beyond:
            outcome = "passes"
        elif p is not None and p <= ALPHA and change.centre > 0 and (interval or change.value >= beyond):
            outcome = "worse"
        found[at] = outcome, p
    return found


def _beyond(change: Comparison, limit: float) -> float:
    return 1 + limit if change.scale == "ratio" else limit


# --- in words -----------------------------------------------------------------------------------------------


def _gated(
    at: tuple[str, str],
    pair: Pair,
    change: Comparison,
    outcome: Decision,
    p: float | None,
    limit: float,
    level: float,
    *,
    several: bool,
) -> Gated:
    smallest, needed = smallest_detected(change, level), None
    if outcome == "undecided":
        needed = rounds_needed(change, limit, change.n / change.rounds, level=level)
        needed = needed and replace(needed, minutes=pair.minutes(needed.more_rounds))
    interval = change.interval()
    ends = [_shift(change, end) for end in interval or ()][:: 1 if change.scale == "ratio" else -1]
    between = f"95 % interval {' to '.join(ends)}" if ends else "no interval"
    pairs = " pairs" if change.paired else ""
    said = [
        f"{_named(at, several=several)}: {_SAID[outcome]}: {_shift(change, change.value)} "
        f"({between}, n = {change.n}{pairs} in {change.rounds} rounds) against a limit of {_limit(change, limit)}."
    ]
    said += [f"No interval: {change.why_no_interval}."] if change.why_no_interval else []
    if smallest:
        said.append(f"These rounds can show changes from {number(100 * smallest, _DIGITS)} {_unit(change)}.")
    if needed and needed.rounds > _MOST_ROUNDS:
        said.append(f"{_MOST_ROUNDS} rounds would not resolve {_limit(change, limit)}: the results vary too much.")
    elif needed and needed.more_rounds:
        minutes = "" if needed.minutes is None else f", about {max(1, round(needed.minutes)):,} min"
        said.append(f"To resolve {_limit(change, limit)}: {needed.more_rounds:,} more rounds{minutes}.")
    return Gated(at[1], at[0], outcome, change.estimate(), p, smallest, needed, " ".join(said))


def _without(at: tuple[str, str], pair: Pair, *, several: bool) -> Gated:
    why = f"{pair.left_out} were left out, as the host was busy" if pair.left_out else "it is not known for both"
    said = f"{_named(at, several=several)}: {_SAID['undecided']}: {why}."
    return Gated(at[1], at[0], "undecided", None, None, None, None, said)


def _named(at: tuple[str, str], *, several: bool) -> str:
    load, metric = at
    label = judged_metrics()[metric].label
    return " ".join([label, *([f"({metric})"] if metric != label else []), *([f"in {load}"] if several else [])])


def _shift(change: Comparison, value: float) -> str:
    """Return "+3.1 %" of a ratio; of shares, which are turned round, how many points were lost: "−1.2 points"."""
    shift = 100 * (value - 1 if change.scale == "ratio" else -value)
    return f"{'−' if shift < 0 else '+'}{number(abs(shift), _DIGITS)} {_unit(change)}"


def _limit(change: Comparison, limit: float) -> str:
    return f"{100 * limit:g} {_unit(change)}"


def _unit(change: Comparison) -> str:
    return "%" if change.scale == "ratio" else "points"


def _notes(pairs: Sequence[Pair]) -> Iterator[str]:
    for pair in pairs:
        where = f"{pair.ours.cell}: " if len(pairs) > 1 else ""
        for side in (pair.theirs, pair.ours):
            if side.failures:
                lost = f"{side.failures:,} of {side.requests:,} requests of {side.name}"
                yield f"{where}{lost} failed and have no latency; --metric success gates them"
        if pair.left_out:
            yield f"{where}{pair.left_out} were left out: the host was busy with other work"
        if pair.why_unpaired and pair.comparisons:
            yield f"{where}compared unpaired: {pair.why_unpaired}"


def gate_text(found: Gate) -> str:
    """Return a sentence per metric, then what a reader must know."""
    return "\n".join([*(result.sentence for result in found.results), *(f"- {note}" for note in found.notes)])


def junit(found: Gate) -> bytes:
    """Return the results as JUnit XML: a failure for what is worse, an error for what is undecided."""
    kinds = [result.outcome for result in found.results]
    suite = ElementTree.Element(
        "testsuite",
        name="accelbench gate",
        tests=str(len(kinds)),
        failures=str(kinds.count("worse")),
        errors=str(kinds.count("undecided")),
    )
    for result in found.results:
        case = ElementTree.SubElement(suite, "testcase", classname=result.load, name=result.metric)
        if result.outcome == "passes":
            ElementTree.SubElement(case, "system-out").text = result.sentence
        else:
            tag = "failure" if result.outcome == "worse" else "error"
            ElementTree.SubElement(case, tag, message=result.sentence, type=result.outcome)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
