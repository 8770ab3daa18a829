"""What a comparison of two endpoints shows, in words: which is faster, by how much, or how many rounds it needs.

A sentence never says more than its interval: the verdicts are made in analysis.verdicts, the words here.
"""

from collections.abc import Mapping, Sequence

from accelbench.analysis.crossover import Crossover
from accelbench.analysis.intervals import RESTS_ON_CHANCE, Comparison, counted
from accelbench.analysis.latency_law import LawFigures
from accelbench.analysis.metrics import judged_metrics
from accelbench.analysis.pairs import Judged, Pair
from accelbench.analysis.sample import SideFigures
from accelbench.analysis.verdicts import Kind, Needed, Verdict
from accelbench.report.text import Labels, change_between, joined_range, listed, number, unique

_KINDS: tuple[Kind, ...] = ("higher", "lower", "equivalent", "undecided")
MAX_LOADS = 3  # that are named one by one
SELDOM = 100  # requests: stragglers rarer than 1 in this many are not mentioned
_MOST_ROUNDS = 200  # the most that is recommended
INTERVAL, POINTS = "95 % interval ", " points"
CLOCK_DIGITS = 6  # of milliseconds: nanoseconds
_PHASES = {"ttft_s": ("first token", "sooner", "later"), "tpot_s": ("each further one", "faster", "slower")}
CLEARLY = 0.001  # smaller p-values are given as below this


def sentences(judged: Judged, labels: Labels) -> list[str]:
    """Return all sentences on a pair: the primary metric, the others, the laws, the crossover."""
    pair = judged.pair
    said = [headline([judged], labels), others(judged, labels)]
    said += [law_sentence(side, labels) for side in (pair.ours, pair.theirs)]
    said += crossovers([judged], labels)
    return [sentence for sentence in said if sentence]


def headline(judged: Sequence[Judged], labels: Labels) -> str:
    """State the verdict on the primary metric of two endpoints, over all loads that both had."""
    first = judged[0]
    ours, theirs = _names(first.pair, labels)
    known = [each for each in judged if first.primary in each.verdicts]
    of_no_quiet = [each.pair.ours.cell for each in judged if each not in known and each.pair.left_out]
    without = [each.pair for each in judged if each not in known and not each.pair.left_out]
    if first.control:
        return _noise_floor(known, theirs)
    of_kind = {kind: [each for each in known if _primary(each).kind == kind] for kind in _KINDS}
    said = [_judged(kind, own, ours, theirs) for kind, own in of_kind.items() if own]
    if without:
        what, cells = metric_name(first.primary), listed([pair.ours.cell for pair in without])
        failed = _failed(without, ours, theirs)
        said.append(f"{ours} and {theirs} can't be compared in {cells}: {what} is not known for both{failed}.")
    if of_no_quiet:
        said.append(f"{ours} against {theirs}, undecided in {listed(of_no_quiet)}: no round was quiet for both.")
    return " ".join([*said, *_conditions(known), *_needed(of_kind["undecided"])])


def conclusion(judged: Judged, labels: Labels) -> str:
    """Say in plain words what was decided between two endpoints under one load, and what would decide the rest."""
    more = _more(judged.verdicts[judged.primary]) if judged.primary in judged.verdicts else ""
    return " ".join(filter(None, [_decided(judged, labels), f"To resolve {more}." if more else ""]))


def in_two_sentences(judged: Judged, labels: Labels) -> str:
    """Say what was decided between two endpoints under one load, and what that rests on."""
    pair, verdict = judged.pair, judged.verdicts.get(judged.primary)
    said = _decided(judged, labels)
    if verdict is None:
        return said
    compared, more = verdict.comparison, _more(verdict)
    disagree, bounds = phases_disagree(judged), compared.interval()
    shown = bounds if disagree or verdict.kind != "undecided" else None
    of = f"of {metric_name(judged.primary)} " if disagree else ""
    rests = [
        f"{INTERVAL}{of}{change_between(*shown)}" if shown else "",
        compared.why_no_interval or "",
        f"{compared.n:,}{' pairs' if compared.paired else ' requests'} in {counted(compared.rounds, 'round')}",
        _unseen([judged]) if shown and _least_seen([judged]) < SELDOM else "",
        f"without {pair.left_out}, when the host was busy with other work" if pair.left_out else "",
        f"unpaired, as {pair.why_unpaired}" if pair.why_unpaired else "",
        f"to resolve {more}" if more else "",
    ]
    text = "; ".join(filter(None, rests))
    return f"{said} {text[0].upper()}{text[1:]}."


def _decided(judged: Judged, labels: Labels) -> str:
    """State the verdict under one load, whatever metric decided it."""
    pair, verdict = judged.pair, judged.verdicts.get(judged.primary)
    ours, theirs = _names(pair, labels)
    failed = _failed([pair], ours, theirs)
    if verdict is None:
        busy = "no round was quiet for both"
        why = busy if pair.left_out else f"{metric_name(judged.primary)} is not known for both"
        return f"{ours} against {theirs}: not compared, as {why}{failed}."
    phases = _phases(judged)
    if phases_disagree(judged):
        near = pair.crossover.tokens
        crossing = f"; they cross near {number(near, 2)} tokens" if near is not None else ""
        return f"{ours} against {theirs}: {', '.join(phases.values())}{crossing}{failed}."
    if verdict.kind in ("lower", "higher"):
        return f"{ours} took {_longer(verdict.comparison.value, theirs)} per answer{failed}."
    if verdict.kind == "equivalent":
        return f"{ours} and {theirs}: equal within {_margin(verdict)}{failed}."
    also = f", but {listed(list(phases.values()))}" if phases else ""
    return f"{ours} against {theirs}: {_undecided(verdict)}{also}{failed}."


def phases_disagree(judged: Judged) -> bool:
    """Tell whether one endpoint is first to begin, and the other faster from there on."""
    kinds = {judged.verdicts[name].kind for name in _PHASES if name in judged.verdicts}
    return {"lower", "higher"} <= kinds


def turning_point(pair: Pair, labels: Labels) -> str:
    """Say in plain words where the order of two endpoints turns."""
    ours, theirs = _names(pair, labels)
    names, crossed = {"ours": ours, "theirs": theirs}, pair.crossover
    below, above = (names[side] if side else "neither" for side in (crossed.faster_below, crossed.faster_above))
    beyond = ", beyond the lengths measured on both" if crossed.extrapolated else ""
    return f"{below} is faster for short answers, {above} for long ones{beyond}."


def _phases(judged: Judged) -> dict[str, str]:
    """Return what was decided of the first token, and of each further one."""
    decided = {name: judged.verdicts[name] for name in _PHASES if name in judged.verdicts}
    return {
        name: f"{what} {_by_how_much(verdict.comparison.value)} {words[verdict.kind == 'higher']}"
        for name, (what, *words) in _PHASES.items()
        if (verdict := decided.get(name)) and verdict.kind in ("lower", "higher")
    }


def _by_how_much(ratio: float) -> str:
    times = max(ratio, 1 / ratio)
    return f"{number(times, 2)} times" if times >= 2 else f"{abs(100 * (ratio - 1)):.0f} %"


def _longer(ratio: float, theirs: str) -> str:
    if ratio >= 2:
        return f"{number(ratio, 2)} times as long as {theirs}"
    if ratio <= 1 / 2:
        return f"{number(1 / ratio, 2)} times less time than {theirs}"
    return f"{abs(100 * (ratio - 1)):.0f} % {'more' if ratio > 1 else 'less'} time than {theirs}"


def _undecided(verdict: Verdict) -> str:
    bounds = verdict.comparison.interval()
    if bounds is None:
        return (
            "undecided, as a few requests are far from the others"
            if rests_on_chance(verdict)
            else "too few rounds to decide"
        )
    excluded = "" if bounds[0] <= 1 <= bounds[1] else ": not significant among all comparisons"
    return f"undecided ({change_between(*bounds)}){excluded}"


def rests_on_chance(verdict: Verdict) -> bool:
    """Tell whether stragglers, and not too few rounds, leave a comparison without an interval."""
    return RESTS_ON_CHANCE in (verdict.comparison.why_no_interval or "")


def _more(verdict: Verdict) -> str:
    """Say what it takes to resolve the margin: "5 %: 9 rounds, 2 minutes more"; nothing if it can't be afforded."""
    needed = verdict.needed
    if needed is None or not needed.more_rounds > 0 or needed.rounds > _MOST_ROUNDS:
        return ""
    lasts = f", {_duration(needed.minutes)} more" if needed.minutes is not None else ""
    return f"{100 * verdict.margin:g} %: {needed.rounds:,} rounds{lasts}"


def others(judged: Judged, labels: Labels) -> str:
    """State the verdicts on the other metrics; of undecided ones the figures."""
    pair = judged.pair
    ours, theirs = _names(pair, labels)
    rest = {metric: verdict for metric, verdict in judged.verdicts.items() if metric != judged.primary}
    told = [
        f"{metric_name(metric)} {_compared_in_words(verdict)} {verdict_figures(verdict)}"
        for metric, verdict in rest.items()
        if verdict.kind != "undecided"
    ]
    open_ = [
        f"{metric_name(metric)} {_value(verdict.comparison)} ({_range(verdict.comparison)})"
        for metric, verdict in rest.items()
        if verdict.kind == "undecided"
    ]
    failed = _failed([pair], ours, theirs)
    against = f"{ours} against {theirs} in {pair.ours.cell}{failed}, corrected for all comparisons"
    parts = [f"{against}: {'; '.join(told)}."] if told else []
    parts += [f"Undecided{'' if told else f' between {ours} and {theirs}'}: {listed(open_)}."] if open_ else []
    return " ".join(parts)


def law_sentence(side: SideFigures, labels: Labels) -> str:
    """State the latency law of a side, or why there is none."""
    name, law = labels.get(side.name, side.name), side.law
    if law is None:
        return f"{name}, {side.cell}: no latency law ({side.why_no_law})."
    by = "from TTFT and TPOT" if law.method == "stream" else "by regression"
    a = f"{number(law.a_s)} s{_between(law.a_ci)}"
    b = f"{number(_ms(law.b_s_per_tok))} ms{_between(law.b_ci and [_ms(end) for end in law.b_ci])}"
    text = (
        f"{name}, {side.cell}: latency = {a} + {b} per output token ({by}, n = {law.n}, "
        f"{law.tokens_seen[0]:,} to {law.tokens_seen[1]:,} tokens "
        "as the server counts them)"
    )
    if law.decode_tok_per_s is None:
        return f"{text}; no decode speed: {law.why or 'the time per output token is not above 0'}."
    doubt = f"; note: {law.why}" if law.why else ""
    return f"{text}; it decodes {number(law.decode_tok_per_s)} tok/s{_decode_between(law)}{doubt}."


def crossovers(judged: Sequence[Judged], labels: Labels) -> list[str]:
    """State the crossover of each pair; pairs without a known one are grouped by reason."""
    said = [crossover_sentence(each.pair, labels) for each in judged if each.pair.crossover.kind]
    unknown: dict[tuple[str, ...], list[str]] = {}
    for each in judged:
        if each.pair.crossover.kind is None:
            key = (*_names(each.pair, labels), str(each.pair.crossover.why))
            unknown.setdefault(key, []).append(each.pair.ours.cell)
    said += [
        f"The crossover of {ours} and {theirs} is not known in {listed(cells)}: {why}."
        for (ours, theirs, why), cells in unknown.items()
    ]
    return said


def crossover_sentence(pair: Pair, labels: Labels) -> str:
    """State the crossover of a pair, as far as it is known."""
    crossed, (ours, theirs), cell = pair.crossover, _names(pair, labels), pair.ours.cell
    names, failed = {"ours": ours, "theirs": theirs}, _failed([pair], ours, theirs)
    if crossed.kind == "none":
        faster = names[crossed.faster_below or "ours"]
        return f"{cell}: {faster} is faster at every output length, according to both latency laws{failed}."
    if crossed.kind == "unbounded":
        return (
            f"{cell}: it is not known at which output length the latency laws of {ours} and {theirs} cross, if at all."
        )
    beyond = " (extrapolated beyond the lengths measured on both)" if crossed.extrapolated else ""
    return f"{cell}: {_order(crossed, names)}{beyond}{failed}."


def metric_name(name: str) -> str:
    """Return the name of a metric."""
    return judged_metrics()[name].label


def verdict_figures(verdict: Verdict) -> str:
    """Return ratio or difference with interval, n and p."""
    return f"{_value(verdict.comparison)}{_bounds(verdict)}"


# --- the primary metric -------------------------------------------------------------------------------------


def _judged(kind: Kind, judged: Sequence[Judged], ours: str, theirs: str) -> str:
    metric = judged[0].primary
    what, loads = metric_name(metric), f"{_loads(judged)}{_failed([each.pair for each in judged], ours, theirs)}"
    if kind == "equivalent":
        margin = _margin(_primary(judged[0]))
        seen = f" among requests like those seen ({_unseen(judged)})"
        return f"For this session, {ours} and {theirs} were equal in {what} within {margin}{seen}: {loads}."
    if kind == "undecided" and all(_primary(each).comparison.rounds == 1 for each in judged):
        return f"{ours} against {theirs}, {what}: not tested with only one round; {loads}."
    if kind == "undecided":
        return f"Between {ours} and {theirs} no difference in {what} could be shown: {loads}."
    word = "faster" if kind == "lower" else "slower"
    return f"For this session, {ours} was {word} than {theirs}: {what} {loads}."


def _noise_floor(judged: Sequence[Judged], name: str) -> str:
    """State the ratio of an endpoint to itself."""
    if not judged:
        return f"Control: {name} could not be compared with itself."
    differs = [each.pair.ours.cell for each in judged if _primary(each).kind in ("lower", "higher")]
    said = f"Control: {name} against itself: {metric_name(judged[0].primary)} {_loads(judged)}"
    if differs:
        return f"{said}. It differed from itself in {listed(differs)}, so no verdict there can be trusted."
    return f"{said}; smaller differences can't be distinguished from noise."


def _loads(judged: Sequence[Judged]) -> str:
    """Return the ratio under each load with its n; for many loads, the range."""
    if len(judged) <= MAX_LOADS:
        shown = [f"{_shown_value(j)} in {j.pair.ours.cell}{_bounds(_primary(j))}" for j in judged]
        return f"ratio of geometric means {', '.join([shown[0], *(each.replace(INTERVAL, '') for each in shown[1:])])}"
    compared = [_primary(each).comparison for each in judged]
    values, n = [each.value for each in compared], [each.n for each in compared]
    return (
        f"ratio of geometric means {joined_range(number(min(values)), number(max(values)))} in {len(judged)} loads "
        f"(n = {joined_range(number(min(n)), number(max(n)))} each; see All verdicts for the intervals)"
    )


def _conditions(judged: Sequence[Judged]) -> list[str]:
    """Say once why there are no intervals, and why loads were not paired."""
    without = unique(c.why_no_interval for each in judged if (c := _primary(each).comparison).why_no_interval)
    unpaired: dict[str, list[str]] = {}
    for each in judged:
        if each.pair.why_unpaired:
            unpaired.setdefault(each.pair.why_unpaired, []).append(each.pair.ours.cell)
    said = [f"No interval: {'; '.join(without)}."] if without else []
    bounded = [each for each in judged if _primary(each).comparison.interval() and _primary(each).kind != "equivalent"]
    if bounded and _least_seen(bounded) < SELDOM:
        said.append(
            f"The {'interval holds' if len(bounded) == 1 else 'intervals hold'} for requests like those seen: "
            f"{_unseen(bounded)}."
        )
    said += [
        f"In {each.pair.ours.cell}, {each.pair.left_out} were left out: the host was busy with other work."
        for each in judged
        if each.pair.left_out
    ]
    return said + [f"Compared unpaired in {listed(cells)}: {why}." for why, cells in unpaired.items()]


def _needed(undecided: Sequence[Judged]) -> list[str]:
    """Say how many rounds a decision needs, for each scenario the load that needs most."""
    most: dict[str | None, Verdict] = {}
    for each in undecided:
        verdict = _primary(each)
        before = most.get(each.scenario)
        if verdict.needed and (before is None or before.needed is None or verdict.needed.rounds > before.needed.rounds):
            most[each.scenario] = verdict
    return unique(_takes(verdict, verdict.needed, scenario) for scenario, verdict in most.items() if verdict.needed)


def _takes(verdict: Verdict, needed: Needed, scenario: str | None) -> str:
    if needed.more_rounds == 0:
        return "Twice as many rounds may decide it."
    if needed.rounds > _MOST_ROUNDS:
        return f"Resolving {_margin(verdict)} would take more than {_MOST_ROUNDS} rounds: the results vary too much."
    minutes = "" if needed.minutes is None else f", about {_duration(needed.minutes)}"
    how = (
        f": set inference.scenarios.{scenario}.rounds to {needed.rounds:,} and run the same command" if scenario else ""
    )
    return (
        f"Resolving {_margin(verdict)} would take about {needed.rounds:,} rounds "
        f"({needed.more_rounds:,} more{minutes}){how}."
    )


def _duration(minutes: float) -> str:
    if minutes >= 120:
        return f"{number(minutes / 60, 2)} hours"
    whole = max(1, round(minutes))
    return f"{whole} minute{'s' if whole > 1 else ''}"


def _shown_value(judged: Judged) -> str:
    compared = _primary(judged).comparison
    return _shown(compared, compared.value)


def _primary(judged: Judged) -> Verdict:
    return judged.verdicts[judged.primary]


def _failed(pairs: Sequence[Pair], ours: str, theirs: str) -> str:
    """Return the failed requests, which every claim about latencies must mention."""
    of_sides = [(ours, [pair.ours for pair in pairs]), (theirs, [pair.theirs for pair in pairs])]
    lost = [sum(side.failures for side in sides) for _, sides in of_sides]
    if not any(lost):
        return ""
    counts = listed(
        [
            f"{gone:,} of {sum(s.requests for s in sides):,} requests of {name}"
            for gone, (name, sides) in zip(lost, of_sides, strict=True)
        ]
    )
    cut = any(side.timeouts for _, sides in of_sides for side in sides)
    slowest = ", including the slowest, which timed out" if cut else ""
    return f" ({counts} failed and have no latency{slowest})"


def _unseen(judged: Sequence[Judged]) -> str:
    return f"stragglers rarer than 1 in {_least_seen(judged):,} may be missing"


def _least_seen(judged: Sequence[Judged]) -> int:
    return min(round(1 / _primary(each).comparison.unseen) for each in judged)


# --- words --------------------------------------------------------------------------------------------------


def _bounds(verdict: Verdict) -> str:
    compared = verdict.comparison
    interval = compared.interval()
    n = f"n = {compared.n}{' pairs' if compared.paired else ''}"
    if interval is None:
        return f" (no interval, {n})"
    zero = 1.0 if compared.scale == "ratio" else 0.0
    tells = verdict.kind in ("lower", "higher") or not interval[0] <= zero <= interval[1]
    p = f", p {_p(verdict.p_value)}" if tells and verdict.p_value is not None else ""
    p += " after correction for all comparisons: not significant" if p and verdict.kind == "undecided" else ""
    return f" ({INTERVAL}{_range(compared)}, {n}{p})"


def _range(compared: Comparison) -> str:
    interval = compared.interval()
    if interval is None:
        return "no interval"
    low, high = (_shown(compared, end) for end in interval)
    return f"{low.removesuffix(POINTS)} to {high}"


def _compared_in_words(verdict: Verdict) -> str:
    if verdict.kind == "equivalent":
        seen = " among requests like those seen" if verdict.comparison.scale == "ratio" else ""
        return f"equal within {_margin(verdict)}{seen}"
    return verdict.kind


def _order(crossed: Crossover, names: Mapping[str, str]) -> str:
    below, above = (names[side] if side else None for side in (crossed.faster_below, crossed.faster_above))
    at = f"about {number(crossed.tokens)} output tokens" if crossed.tokens is not None else "an unknown length"
    low, high = crossed.low_tokens, crossed.high_tokens
    if low is not None and high is not None:
        return (
            f"{below} is faster below {number(low)} output tokens and {above} above {number(high)}; they cross at {at}"
        )
    if low is not None:
        return f"{below} is faster below {number(low)} output tokens; above that, it is not known which is faster"
    if high is not None:
        return f"{above} is faster above {number(high)} output tokens; below that, it is not known which is faster"
    return f"the latency laws cross at {at}"


def _names(pair: Pair, labels: Labels) -> tuple[str, str]:
    return labels.get(pair.ours.name, pair.ours.name), labels.get(pair.theirs.name, pair.theirs.name)


def _margin(verdict: Verdict) -> str:
    percent = f"{100 * verdict.margin:g}"
    return f"±{percent} %" if verdict.comparison.scale == "ratio" else f"±{percent} points"


def _value(compared: Comparison) -> str:
    word = "ratio" if compared.scale == "ratio" else "difference"
    return f"{word} {_shown(compared, compared.value)}"


def _shown(compared: Comparison, value: float) -> str:
    if compared.scale == "ratio":
        return number(value)
    points = round(100 * value, 1)
    return f"{points:+g}{POINTS}" if points else f"0{POINTS}"


def _p(value: float) -> str:
    return f"< {CLEARLY}" if value < CLEARLY else f"= {number(value, 2)}"


def _ms(seconds: float) -> float:
    """Return milliseconds; a rounding error of the fit, which no clock could show, becomes 0."""
    return round(1000 * seconds, CLOCK_DIGITS)


def _between(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({number(interval[0])} to {number(interval[1])})"


def _decode_between(law: LawFigures) -> str:
    if law.decode_ci is None:
        return " (no interval)"
    low, high = law.decode_ci
    return f" ({number(low)} to {'unbounded' if high is None else number(high)})"
