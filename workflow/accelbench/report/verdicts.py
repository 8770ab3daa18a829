"""What a comparison of two endpoints carries, in words: who, at what, by how much, how sure; or what it would take.

A sentence never says more than its interval: the verdicts are made in analysis.verdicts, the words here.
"""

from collections.abc import Mapping, Sequence

from accelbench.analysis.comparison import Comparison
from accelbench.analysis.crossover import Crossover
from accelbench.analysis.latency_law import Law
from accelbench.analysis.pairs import Pair
from accelbench.analysis.sides import TIMES, Side
from accelbench.analysis.verdicts import Verdict
from accelbench.report.text import listed, number

Labels = Mapping[str, str]
NAMES = {
    "e2e_s": "E2E latency",
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "success": "success",
    "contains_gold": "contains the gold answer",
    "f1": "F1",
}
CLEARLY = 0.001  # p-values below are only said to be so


def sentences(
    pair: Pair, verdicts: Mapping[str, Verdict], labels: Labels, primary: str = "e2e_s", scenario: str | None = None
) -> list[str]:
    """Return all that is said of a pair: the primary metric, the others, the laws, where the order turns."""
    said = [headline(pair, verdicts, labels, primary, scenario), others(pair, verdicts, labels, primary)]
    said += [law_sentence(side, labels) for side in (pair.ours, pair.theirs)]
    said.append(crossover_sentence(pair, labels))
    return [sentence for sentence in said if sentence]


def headline(
    pair: Pair, verdicts: Mapping[str, Verdict], labels: Labels, primary: str = "e2e_s", scenario: str | None = None
) -> str:
    """Say what the primary metric carries."""
    ours, theirs = _names(pair, labels)
    verdict = verdicts.get(primary)
    if verdict is None:
        return f"{ours} and {theirs} can't be compared in {pair.ours.cell}: no {NAMES[primary]} is known of both."
    return f"{_judged(verdict, primary, ours, theirs, pair.ours.cell)}{_how(pair, verdict, scenario)}"


def others(pair: Pair, verdicts: Mapping[str, Verdict], labels: Labels, primary: str = "e2e_s") -> str:
    """Say what the other metrics carry, those that tell the sides apart or alike; the undecided ones by name."""
    ours, theirs = _names(pair, labels)
    rest = {metric: verdict for metric, verdict in verdicts.items() if metric != primary}
    if not rest:
        return ""
    told = [
        f"{NAMES[metric]} {_compared_in_words(verdict)} {figures(verdict)}"
        for metric, verdict in rest.items()
        if verdict.kind != "undecided"
    ]
    open_ = [
        f"{NAMES[metric]} ({_value(verdict.comparison)})"
        for metric, verdict in rest.items()
        if verdict.kind == "undecided"
    ]
    against = f"{ours} against {theirs} in {pair.ours.cell}, corrected for all that is compared"
    parts = [f"{against}: {'; '.join(told)}."] if told else []
    parts += [f"Undecided{'' if told else f' between {ours} and {theirs}'}: {listed(open_)}."] if open_ else []
    return " ".join(parts)


def law_sentence(side: Side, labels: Labels) -> str:
    """Say what a request costs and what each token costs, or why that can't be said."""
    name, (law, why) = labels.get(side.name, side.name), side.law()
    if law is None:
        return f"{name}, {side.cell}: no latency law ({why})."
    by = "from TTFT and TPOT" if law.fit.method == "stream" else "by regression"
    a = f"{number(law.fit.a_s)} s{_between(law.a_ci)}"
    b = f"{number(1000 * law.fit.b_s_per_tok)} ms{_between(law.b_ci, 1000)}"
    text = (
        f"{name}, {side.cell}: latency = {a} + {b} per output token ({by}, n = {law.fit.n}, "
        f"{law.tokens_seen[0]:,} to {law.tokens_seen[1]:,} tokens)"
    )
    if law.decode_tok_per_s is None:
        return f"{text}; no decode speed: {law.why or 'the cost of a token is not above 0'}."
    return f"{text}; it decodes {number(law.decode_tok_per_s)} tok/s{_decode_between(law)}."


def crossover_sentence(pair: Pair, labels: Labels) -> str:
    """Say from which output length the order turns, as far as that can be said."""
    crossed, (ours, theirs) = pair.crossover, _names(pair, labels)
    if crossed.kind is None:
        return f"Whether the order of {ours} and {theirs} turns with the output length can't be said: {crossed.why}."
    names = {"ours": ours, "theirs": theirs}
    if crossed.kind == "none":
        return f"{names[crossed.faster_below or 'ours']} is faster at every output length, by both laws."
    if crossed.kind == "unbounded":
        return f"The laws of {ours} and {theirs} may cross anywhere: no output length is told apart."
    beyond = " (extrapolated beyond the lengths seen on both)" if crossed.extrapolated else ""
    return f"{_order(crossed, names)}{beyond}."


def figures(verdict: Verdict) -> str:
    """Return ratio or difference with interval, n and p, in brackets."""
    compared = verdict.comparison
    interval = compared.interval()
    parts = [_value(compared)]
    parts.append(
        f"95 % interval {_shown(compared, interval[0])} to {_shown(compared, interval[1])}"
        if interval
        else f"no interval: {compared.why_no_interval}"
    )
    parts.append(f"n = {compared.n}{' pairs' if compared.paired else ''}")
    if verdict.kind in ("lower", "higher") and verdict.p_value is not None:
        parts.append(f"p {_p(verdict.p_value)}")
    return f"({', '.join(parts)})"


def _judged(verdict: Verdict, metric: str, ours: str, theirs: str, cell: str) -> str:
    what, bracket = NAMES[metric], figures(verdict)
    if verdict.kind == "equivalent":
        margin = _margin(verdict)
        return f"For this session, {ours} and {theirs} were equal in {what} within {margin} in {cell} {bracket}."
    if verdict.kind == "undecided":
        return f"Between {ours} and {theirs} no difference in {what} could be shown in {cell} {bracket}."
    faster = (verdict.kind == "lower") == (metric in TIMES)
    word = ("faster" if faster else "slower") if metric in TIMES else ("better" if faster else "worse")
    return f"For this session, {ours} was {word} than {theirs} in {cell}: {what} {bracket}."


def _how(pair: Pair, verdict: Verdict, scenario: str | None) -> str:
    """Say whether the sides were interleaved, and what it would take to decide."""
    said = "" if pair.paired else f" They were compared unpaired: {pair.interleaving.why_not}."
    needed = verdict.needed
    if verdict.kind != "undecided" or needed is None:
        return said
    if needed.more_rounds == 0:
        return f"{said} As many rounds again may tell it."
    minutes = "" if needed.minutes is None else f", about {number(max(1.0, needed.minutes), 2)} minutes"
    where = (
        f": set inference.scenarios.{scenario}.rounds to {needed.rounds:,} and run the same command" if scenario else ""
    )
    return (
        f"{said} Telling {_margin(verdict)} apart would take about {needed.rounds:,} rounds "
        f"({needed.more_rounds:,} more{minutes}{where})."
    )


def _compared_in_words(verdict: Verdict) -> str:
    if verdict.kind == "equivalent":
        return f"equal within {_margin(verdict)}"
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
        return f"{below} is faster below {number(low)} output tokens; beyond, the order can't be told"
    if high is not None:
        return f"{above} is faster above {number(high)} output tokens; below, the order can't be told"
    return f"The laws cross at {at}"


def _names(pair: Pair, labels: Labels) -> tuple[str, str]:
    return labels.get(pair.ours.name, pair.ours.name), labels.get(pair.theirs.name, pair.theirs.name)


def _margin(verdict: Verdict) -> str:
    percent = f"{100 * verdict.margin:g}"
    return f"±{percent} %" if verdict.comparison.scale == "ratio" else f"±{percent} points"


def _value(compared: Comparison) -> str:
    word = "ratio" if compared.scale == "ratio" else "difference"
    return f"{word} {_shown(compared, compared.value)}"


def _shown(compared: Comparison, value: float) -> str:
    return number(value) if compared.scale == "ratio" else f"{100 * value:+.0f} points"


def _p(value: float) -> str:
    return f"< {CLEARLY}" if value < CLEARLY else f"= {number(value, 2)}"


def _between(interval: Sequence[float] | None, scale: float = 1) -> str:
    if interval is None:
        return ""
    return f" ({number(scale * interval[0])} to {number(scale * interval[1])})"


def _decode_between(law: Law) -> str:
    if law.decode_ci is None:
        return f" (no interval: {law.fit.why_no_interval})" if law.fit.why_no_interval else ""
    low, high = law.decode_ci
    return f" ({number(low)} to {'unbounded' if high is None else number(high)})"
