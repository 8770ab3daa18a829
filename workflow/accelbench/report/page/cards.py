"""The answer cards of the first screen: a question, one figure, its interval, one plain sentence, n, its evidence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate
from accelbench.analysis.pairs import Judged
from accelbench.analysis.sweep import Sweep
from accelbench.analysis.training import Series, TrainingRow, by_series
from accelbench.analysis.verdicts import Verdict
from accelbench.report.reasons import EXPERIMENT
from accelbench.report.sentences import searched
from accelbench.report.sentences_training import fastest, size_effect
from accelbench.report.summary import Summary
from accelbench.report.text import change, change_between, listed, number, series_name, unique
from accelbench.report.verdicts import conclusion, phases_disagree, rests_on_chance, turning_point
from accelbench.store.records import SearchResult

MOST_CARDS = 4


@dataclass(frozen=True, slots=True)
class Whisker:
    """A figure between two ends, to be drawn; `against`: what it is compared with."""

    value: float
    low: float
    high: float
    text: str
    against: float | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One question and its answer. `n` says how many observations it rests on, `href` where they are."""

    question: str
    figure: str
    interval: Whisker | None
    sentence: str
    n: str
    href: str


def cards(summary: Summary) -> list[Card]:
    """Return at most four cards: which endpoint, which batch size, the highest load, a turn, what a token costs."""
    endpoints = _of_pairs(summary) or _of_endpoints(summary)
    training = list(_of_training(summary))
    turns, energy, searches = _of_turn(summary), _of_energy(summary), _of_searches(summary)
    beside = [*training[: 1 if endpoints else MOST_CARDS], *searches[:1], *turns[:1], *energy[:1]]
    return [*endpoints[: max(1, MOST_CARDS - len(beside))], *beside][:MOST_CARDS]


# --- endpoints ----------------------------------------------------------------------------------------------


def load_name(cell: str, rows: Sequence[InferenceRow]) -> str:
    """Return a load in words, by its name where the words would fit several."""
    words = {row.cell: row.load for row in rows}
    same = [other for other, said in words.items() if said == words.get(cell)]
    return words[cell] if len(same) == 1 else cell


def real_pairs(summary: Summary) -> list[Judged]:
    """Return what was judged, without an endpoint's comparison with itself, and what only decides reasons."""
    return [each for each in summary.judged if not each.control and not _is_experiment(each)]


def _is_experiment(judged: Judged) -> bool:
    pair = judged.pair
    return any(name.startswith(EXPERIMENT) for name in (pair.ours.cell, pair.ours.name, pair.theirs.name))


def _of_searches(summary: Summary) -> list[Card]:
    """Return a card for each scenario whose highest load was searched."""
    found = []
    for cell in unique(each.cell for each in summary.searches if each.result):
        own = [(each, each.result) for each in summary.searches if each.cell == cell and each.result]
        figure = " · ".join(_most(result) for _, result in own)
        said = " ".join(searched(each, summary.labels) for each, _ in own)
        requests = sum(result.requests for _, result in own)
        found.append(Card(f"{cell}: how much load?", figure, None, said, _n_of(requests, "request"), "#searches"))
    return found


def _most(found: SearchResult) -> str:
    """Return the highest load that holds, or the bound of it that was found."""
    if found.holds_at is None:
        return f"< {found.fails_at:g}"
    return f"{'≥ ' if found.fails_at is None else ''}{found.holds_at:g}"


def _of_pairs(summary: Summary) -> list[Card]:
    return [_of_pair(each, summary) for each in real_pairs(summary)]


def _of_pair(judged: Judged, summary: Summary) -> Card:
    pair, verdict = judged.pair, judged.verdicts.get(judged.primary)
    question = f"{load_name(pair.ours.cell, summary.inference)}: which endpoint is faster?"
    sentence, href = conclusion(judged, summary.labels), "#inference"
    if verdict is None:
        both = {side.name for side in (pair.ours, pair.theirs)}
        asked = [row.requests for row in summary.inference if row.cell == pair.ours.cell and row.endpoint in both]
        return Card(question, "undecided", None, sentence, _n_of(sum(asked), "request"), href)
    n = _n_of(verdict.comparison.n, "pair" if pair.paired else "request")
    if phases_disagree(judged) and pair.crossover.tokens is not None:
        figure, whisker = _turn(judged)
        return Card(question, f"turns at {figure}", whisker, sentence, n, "#latency-laws")
    return Card(question, _figure(verdict), _ratio_whisker(verdict.comparison.estimate()), sentence, n, href)


def _figure(verdict: Verdict) -> str:
    if verdict.kind in ("lower", "higher"):
        return change(verdict.comparison.value)
    if verdict.kind == "equivalent":
        return "equal"
    decidable = verdict.comparison.interval() is not None or rests_on_chance(verdict)
    return "undecided" if decidable else "too few rounds"


def _ratio_whisker(found: Estimate) -> Whisker | None:
    if found.low is None or found.high is None:
        return None
    return Whisker(found.value, found.low, found.high, change_between(found.low, found.high), 1.0)


def _turn(judged: Judged) -> tuple[str, Whisker | None]:
    crossed = judged.pair.crossover
    figure = f"{number(crossed.tokens, 2)} tokens"
    if crossed.tokens is None or crossed.low_tokens is None or crossed.high_tokens is None:
        return figure, None
    ends = f"{number(crossed.low_tokens, 2)} to {number(crossed.high_tokens, 2)} tokens"
    return figure, Whisker(crossed.tokens, crossed.low_tokens, crossed.high_tokens, ends)


def _of_turn(summary: Summary) -> list[Card]:
    """Return where the order turns, in pairs whose first card does not say so."""
    return [
        Card(
            f"{load_name(each.pair.ours.cell, summary.inference)}: where does the order turn?",
            *_turn(each),
            turning_point(each.pair, summary.labels),
            _n_of(sum(side.requests - side.failures for side in (each.pair.ours, each.pair.theirs)), "answer"),
            "#latency-laws",
        )
        for each in real_pairs(summary)
        if each.pair.crossover.kind == "interval" and not phases_disagree(each)
    ]


def _of_endpoints(summary: Summary) -> list[Card]:
    """Describe endpoints of which none can be compared."""
    return [_of_row(row, summary) for row in summary.inference if row.requests]


def _of_row(row: InferenceRow, summary: Summary) -> Card:
    name = summary.labels.get(row.endpoint, row.endpoint)
    question = f"{load_name(row.cell, summary.inference)}: how fast is {name}?"
    typical, n = row.typical_latency, _n_of(row.successes, "answer")
    if typical is None:
        return Card(question, "no answer", None, f"{row.failures or 'No request'} failed.", n, "#missing")
    if row.disturbed:
        why = "The host was busy in every round, so nothing is concluded about its speed."
        return Card(question, "undecided", None, why, n, "#inference")
    ends = f"{number(typical.low, 2)} to {number(typical.high, 2)} s"
    interval = None if typical.low is None or typical.high is None else (typical.low, typical.high)
    said = [f"A typical answer took {number(typical.value, 2)} s"]
    said += [f"{number(row.completion_tokens, 2)} output tokens on average"] if row.completion_tokens else []
    said += [f"{number(row.output_tok_per_s, 2)} tokens per second"] if row.output_tok_per_s else []
    whisker = Whisker(typical.value, *interval, ends) if interval else None
    return Card(question, f"{number(typical.value, 2)} s", whisker, f"{', '.join(said)}.", n, "#inference")


# --- training -----------------------------------------------------------------------------------------------


def _of_training(summary: Summary) -> Iterator[Card]:
    sweeps = {Series(sweep.platform, sweep.micro, sweep.length): sweep for sweep in summary.sweeps}
    for series, rows in by_series(summary.training).items():
        sweep = sweeps.get(series)
        if sweep and any(row.repeats for row in rows):
            yield _of_sweep(sweep, rows, series_name(series, summary.labels), summary)


def _of_sweep(sweep: Sweep, rows: Sequence[TrainingRow], name: str, summary: Summary) -> Card:
    question = "Which batch size trains fastest?" if len(rows) > 1 else "How fast does it train?"
    if len(unique(row.platform for row in summary.training)) > 1:
        question = f"{name}: {question[0].lower()}{question[1:]}"
    runs = _n_of(sum(row.repeats for row in rows), "run")
    row = fastest(rows)
    if row is None:
        busy = any(each.disturbed for each in rows)
        why = "The host was busy during every run" if busy else "No log gives a steady rate"
        return Card(question, "undecided", None, f"{why}, so no rate is stated.", runs, "#training")
    rate, low, high = row.steady_rate_samples_per_s or 0.0, row.steady_rate_lowest, row.steady_rate_highest
    ends = f"its runs: {number(low, 2)} to {number(high, 2)}"
    whisker = None if low is None or high is None or row.timed_repeats < 2 else Whisker(rate, low, high, ends)
    sentence = size_effect(sweep, rows, summary.tests)
    return Card(question, f"{number(rate, 2)} samples/s", whisker, sentence, runs, "#training")


# --- energy -------------------------------------------------------------------------------------------------


def _of_energy(summary: Summary) -> list[Card]:
    """Return what an output token takes, under the first load for which it was measured."""
    metric = "energy_per_token"
    known = [(row, found) for row in summary.inference if isinstance(found := row.figures.get(metric), Estimate)]
    if not known:
        return list(map(_of_sample, [row for row in summary.training if row.joules_per_sample][:1]))
    cell = known[0][0].cell
    own = [(summary.labels.get(row.endpoint, row.endpoint), found) for row, found in known if row.cell == cell]
    found = own[0][1]
    ends = f"{number(found.low, 2)} to {number(found.high, 2)} J"
    whisker = None if found.low is None or found.high is None else Whisker(found.value, found.low, found.high, ends)
    said = listed([f"{label} took {number(each.value, 2)} J per output token" for label, each in own])
    question = f"{load_name(cell, summary.inference)}: what does a token cost in energy?"
    return [Card(question, f"{number(found.value, 2)} J", whisker, f"{said}.", _n_of(found.n, "round"), "#inference")]


def _of_sample(row: TrainingRow) -> Card:
    joules, low, high = row.joules_per_sample or 0.0, row.joules_per_sample_lowest, row.joules_per_sample_highest
    ends = f"its runs: {number(low, 2)} to {number(high, 2)} J"
    whisker = None if low is None or high is None or row.repeats < 2 else Whisker(joules, low, high, ends)
    said = f"Batch size {row.batch_size:,} took {number(joules, 2)} J per sample, start-up included."
    question = "What does a sample cost in energy?"
    return Card(question, f"{number(joules, 2)} J", whisker, said, _n_of(row.repeats, "run"), "#training-all")


def _n_of(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
