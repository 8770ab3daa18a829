"""What the figures show, in words: pure functions over rows and records."""

import datetime
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from accelbench.analysis.disturbance import disturbed_in_words, unknown_in_words
from accelbench.analysis.evidence import Evidence
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate
from accelbench.analysis.load_curve import LoadCurve
from accelbench.analysis.pairs import Judged
from accelbench.analysis.sweep import Sweep
from accelbench.analysis.training import TrainingRow
from accelbench.report.inference_tables import SEARCHED, search_interval
from accelbench.report.reasons import confounds
from accelbench.report.sentences_training import (
    disturbed_runs,
    length_sentence,
    losses,
    micro_batch_sentence,
    not_training,
    rates,
    rates_differ,
)
from accelbench.report.text import NONE, Labels, listed, number, p_in_words, span, unique
from accelbench.report.verdicts import headline
from accelbench.store.records import ClientFacts, InferRoundRecord, SearchRecord, TrainRunRecord

MAX_COMPARED = 2  # endpoints in the summary; the tables have the rest
MAX_NAMED = 3  # rows with failures; more are added up by endpoint
TRIFLE, CPU_BOUND, CHANCE_SENDS = 0.01, 0.9, 1  # of a latency, of a core, and in a round: as in inference.client.load
LENGTHS_DIFFER = 1.1  # above this ratio, mean output lengths are mentioned with the latencies
_BUSY = "The machine was busy: "  # comes first


def summary_sentences(
    training: Sequence[TrainingRow],
    inference: Sequence[InferenceRow],
    rounds: Sequence[InferRoundRecord],
    labels: Labels,
    runs: Sequence[TrainRunRecord] = (),
    judged: Sequence[Judged] = (),
    evidence: Sequence[Evidence] = (),
    tests: int = 1,
    sweeps: Sequence[Sweep] = (),
    searches: Sequence[SearchRecord] = (),
) -> list[str]:
    """Return the summary: what was found in each half, what is confounded, what failed; first, a busy host.

    `tests`: the number of tests in the report, for which its p-values are corrected.
    """
    twins = {each.pair.ours.name for each in judged if each.control}
    rows = [row for row in inference if row.endpoint not in twins]
    real = [record for record in rounds if record.endpoint not in twins]
    training_half = [
        disturbed_runs(runs),
        " ".join(filter(None, [rates(training, labels), rates_differ(sweeps, labels, tests)])),
        micro_batch_sentence(training, labels),
        length_sentence(training, labels),
        not_training(sweeps, labels),
        losses(training, labels),
    ]
    inference_half = [
        _disturbed_rounds(rounds),
        *comparisons(inference, labels, judged),
        " ".join(filter(None, [confounded(real, rows, labels, evidence), limited_client(rounds, labels, inference)])),
        labelled(inference, labels),
        outcomes(inference, labels),
    ]
    said = [
        *(training_half if training or not (inference or searches) else []),
        *(inference_half if inference or not (training or searches) else []),
        *(searched(each, labels) for each in searches if each.result),
        unknown_activity(runs, rounds),
    ]
    said.sort(key=lambda sentence: not sentence.startswith(_BUSY))
    return [sentence for sentence in said if sentence]


def searched(search: SearchRecord, labels: Labels) -> str:
    """Say up to which load an endpoint meets a scenario's objectives."""
    found, name = search.result, labels.get(search.endpoint, search.endpoint)
    assert found
    what = SEARCHED[found.axis]
    if found.holds_at is None:
        return f"{name} misses {found.objectives} even at {found.fails_at:g} {what}."
    how_sure = "; ".join([search_interval(found), *found.labels])
    return f"{name} meets {found.objectives} up to {found.holds_at:g} {what} ({how_sure})."


def limitations(
    runs: Sequence[TrainRunRecord],
    rounds: Sequence[InferRoundRecord],
    rows: Sequence[InferenceRow],
    labels: Labels,
    evidence: Sequence[Evidence] = (),
) -> list[str]:
    """Return at most three short lines on what limits the comparisons."""
    done = [each for each in rounds if each.state == "measured"]
    busy = [
        disturbed_in_words([each.host_activity for each in done]),
        disturbed_in_words([each.host_activity for each in runs if each.state == "measured"], "training runs"),
    ]
    differ = [_in_short(each, done) for each in _differences(done, rows, labels, evidence)]
    more = [f"{len(differ) - MAX_NAMED} more differences"] if len(differ) > MAX_NAMED else []
    kinds = [kind for row in rows for kind in _label_kinds(row) if kind != "busy host"]
    care = [f"{kind} ({_counted_loads(kinds.count(kind))})" for kind in unique(kinds)]
    late = "The client may have added to the latencies" if limited_client(rounds, labels, rows) else ""
    said = [
        f"Busy host: {'; '.join(filter(None, busy))}. Comparisons leave these out." if any(busy) else "",
        f"Not like for like: {'; '.join([*differ[:MAX_NAMED], *more])}." if differ else "",
        f"{'; '.join(filter(None, [late, *care]))}." if late or care else "",
    ]
    return [f"{line[0].upper()}{line[1:]}" for line in said if line]


def _in_short(difference: str, done: Sequence[InferRoundRecord]) -> str:
    """Return a difference by its values alone where they are short, else without them."""
    for key in ("model", "precision"):
        if difference.startswith(f"different {key}s"):
            return " against ".join(unique(_facts_of(done, key).values()))
    return difference.partition(" (")[0]


def _counted_loads(count: int) -> str:
    return f"{count} load{'' if count == 1 else 's'}"


# --- inference ----------------------------------------------------------------------------------------------


def _disturbed_rounds(rounds: Sequence[InferRoundRecord]) -> str:
    """Say what disturbed rounds, and that no statement rests on them."""
    said = disturbed_in_words([record.host_activity for record in rounds if record.state == "measured"])
    return f"{_BUSY}{said}. Comparisons of endpoints leave them out." if said else ""


def ratio_baseline(rows: Sequence[InferenceRow]) -> InferenceRow:
    """Return the row of a cell that the others' ratios refer to."""
    return next((row for row in rows if row.endpoint == row.baseline), rows[0])


def comparisons(rows: Sequence[InferenceRow], labels: Labels, judged: Sequence[Judged] = ()) -> list[str]:
    """Compare each endpoint with the baseline; for a single endpoint, give its latency."""
    if not rows:
        return ["No endpoints are in this report."]
    if not any(row.requests for row in rows):
        return ["None of the planned rounds was measured."]
    if not judged:
        return _without_pairs(rows, labels)
    real = [each for each in judged if not each.control]
    names = unique(each.pair.ours.name for each in real)
    said = [headline([each for each in real if each.pair.ours.name == name], labels) for name in names[:MAX_COMPARED]]
    if len(names) > MAX_COMPARED:
        rest = listed([labels.get(name, name) for name in names[MAX_COMPARED:]])
        said[-1] += f" For {rest}, see Inference."
    controls = [each for each in judged if each.control]
    return [*said, headline(controls, labels)] if controls else said


def outcomes(rows: Sequence[InferenceRow], labels: Labels) -> str:
    """Say how many requests succeeded, and name those that failed."""
    asked, good = sum(row.requests for row in rows), sum(row.successes for row in rows)
    if not asked:
        return ""
    if asked == good:
        return f"All {asked:,} requests succeeded."
    failed = [row for row in rows if row.requests > row.successes]
    named = [f"{labels.get(r.endpoint, r.endpoint)} in {r.cell} ({r.failures})" for r in failed]
    if len(failed) > MAX_NAMED:
        totals = {
            name: sum(r.requests - r.successes for r in failed if r.endpoint == name)
            for name in unique(r.endpoint for r in failed)
        }
        named = [f"{count} of {labels.get(name, name)}" for name, count in totals.items()]
    return (
        f"{asked - good:,} of {asked:,} requests failed: {listed(named)}. They count in the success rates, "
        "but have no latency: the latencies are those of the successes only."
    )


def confounded(
    rounds: Sequence[InferRoundRecord],
    rows: Sequence[InferenceRow],
    labels: Labels,
    evidence: Sequence[Evidence] = (),
) -> str:
    """Name what else differs between the endpoints, and what else limits the figures."""
    found = _differences([record for record in rounds if record.state == "measured"], rows, labels, evidence)
    return f"The comparison is confounded by: {'; '.join(found)}." if found else ""


def _differences(
    done: Sequence[InferRoundRecord], rows: Sequence[InferenceRow], labels: Labels, evidence: Sequence[Evidence]
) -> list[str]:
    names = unique(record.endpoint for record in done)
    if len(names) < 2:
        return []
    found = [*_weights_differ(done, labels), *_lengths_differ(rows, labels), *_sessions_differ(done, names)]
    return [*found, *confounds(done, evidence, labels)]


def untested(rows: Sequence[InferenceRow], evidence: Sequence[Evidence]) -> str:
    """State the highest load that was measured."""
    measured = [row for row in rows if row.successes]
    bounds: dict[str, list[float]] = {
        "in flight": [row.concurrency for row in measured if row.rate_per_s is None],
        "arrivals per second": [row.rate_per_s for row in measured if row.rate_per_s is not None],
        "prompt tokens": [each.most_prompt_tokens for each in evidence if each.most_prompt_tokens],
        "output tokens": [each.most_output_tokens for each in evidence if each.most_output_tokens],
    }
    said = [f"{number(max(seen))} {what}" for what, seen in bounds.items() if seen]
    return f"Not tested: more than {listed(said)}." if said else ""


def labelled(rows: Sequence[InferenceRow], labels: Labels) -> str:
    """Say which loads differ from what was planned, and in which of their figures."""
    by_kind: dict[str, list[str]] = {}
    for row in rows:
        for kind in _label_kinds(row):
            by_kind.setdefault(kind, []).append(f"{labels.get(row.endpoint, row.endpoint)} in {row.cell}")
    said = [
        f"{kind} ({listed(where) if len(where) <= MAX_NAMED else f'{len(where)} loads'})"
        for kind, where in by_kind.items()
    ]
    return f"Read with care: {'; '.join(said)}. The reasons are listed under the tables." if said else ""


def _label_kinds(row: InferenceRow) -> list[str]:
    return [label.partition(":")[0] for label in (row.labels or "").split("; ") if label]


def limited_client(rounds: Sequence[InferRoundRecord], labels: Labels, rows: Sequence[InferenceRow] = ()) -> str:
    """Warn where the client was so busy or late that it may have added to the latencies."""
    medians = {(row.endpoint, row.cell): row.latency.median for row in rows if row.latency}
    limited = [r for r in rounds if _is_limited(r, medians.get((r.endpoint, r.cell)))]
    if not limited:
        return ""
    facts = [record.client or {} for record in limited]
    where = unique(f"{labels.get(r.endpoint, r.endpoint)} in {r.cell}" for r in limited)
    share, lag_s, late = (_most(facts, key) for key in ("cpu_share", "lag_p99_s", "late_sends"))
    behind = f", and sent up to {late:.0f} requests of a round late" if late else ""
    return (
        f"The client may have added to the latencies ({listed(where)}): it used up to {100 * share:.0f} % of a core, "
        f"lagged by up to {1000 * lag_s:.0f} ms (p99){behind}."
    )


def _is_limited(record: InferRoundRecord, median_s: float | None) -> bool:
    """Tell whether the lag is a relevant part of the latencies; a busy core or several late sends always count."""
    client = record.client or {}
    if not client.get("limited"):
        return False
    only_lag = (client.get("cpu_share") or 0) <= CPU_BOUND and (client.get("late_sends") or 0) <= CHANCE_SENDS
    return not (only_lag and median_s and float(client.get("lag_p99_s") or 0) < TRIFLE * median_s)


def _most(facts: Sequence[ClientFacts], key: Literal["lag_p99_s", "cpu_share", "late_sends"]) -> float:
    return max((float(each.get(key) or 0) for each in facts), default=0.0)


def _without_pairs(rows: Sequence[InferenceRow], labels: Labels) -> list[str]:
    """Describe endpoints that share no load."""
    asked = [row for row in rows if row.requests]
    names = unique(row.endpoint for row in asked)
    said = [_alone([r for r in asked if r.endpoint == name], labels.get(name, name)) for name in names[:MAX_COMPARED]]
    if len(names) > MAX_COMPARED:
        said[-1] += f" For {listed([labels.get(n, n) for n in names[MAX_COMPARED:]])}, see Inference."
    return said


def _alone(rows: Sequence[InferenceRow], name: str) -> str:
    """State one endpoint's latency under one load, or its range under several."""
    medians = sorted((r.latency.median, index) for index, r in enumerate(rows) if r.latency and not r.disturbed)
    failed = [row.cell for row in rows if not row.latency]
    disturbed = [row.cell for row in rows if row.latency and row.disturbed]
    said = []
    if len(medians) == 1:
        only = rows[medians[0][1]]
        typical = f"typical latency {_with_interval(only.typical_latency, ' s')}" if only.typical_latency else ""
        said.append(f"{only.cell}: median latency {_median(only)}{'; ' if typical else ''}{typical}.")
    elif medians:
        first, last = rows[medians[0][1]], rows[medians[-1][1]]
        said.append(
            f"of {len(medians)} loads, the median latency was shortest in {first.cell}, {_median(first)}, "
            f"and longest in {last.cell}, {_median(last)}."
        )
    for what, cells in (("no request succeeded in", failed), ("the host was disturbed in all rounds of", disturbed)):
        if cells:
            where = listed(cells) if len(cells) <= MAX_NAMED else f"{len(cells)} loads"
            said.append(f"{what[0].upper() + what[1:] if said else what} {where}.")
    return f"{name}{', ' if len(medians) == 1 else ': '}{' '.join(said)}"


def _median(row: InferenceRow) -> str:
    return f"{number(row.latency.median)} s (n = {row.latency.n})" if row.latency else NONE


def _with_interval(estimate: Estimate, after: str, counted: str = "") -> str:
    value, n = f"{number(estimate.value)}{after}", f"n = {estimate.n}{counted}"
    if estimate.low is None or estimate.high is None:
        return f"{value} ({n}; no interval: {estimate.why_no_interval or 'the reason is not recorded'})"
    return f"{value} (95 % interval {number(estimate.low)} to {number(estimate.high)}, {n})"


def _weights_differ(done: Sequence[InferRoundRecord], labels: Labels) -> list[str]:
    found = []
    models, precisions = _facts_of(done, "model"), _facts_of(done, "precision")
    names = {_model_name(model) for model in models.values()}
    if len(names) > 1:
        found.append(f"different models ({_pairs(models, labels)})")
    if len(set(precisions.values())) > 1:
        same = " of the same model" if len(names) == 1 else ""
        found.append(f"different precisions{same} ({_pairs(precisions, labels)})")
    hosts = unique(str((record.host or {}).get("name")) for record in done)
    if len(hosts) > 1:
        found.append(f"clients on different hosts ({listed(hosts)})")
    return found


def _model_name(model: str) -> str:
    """Return a model's name without the owner that some servers write before it: openai/gpt-oss-120b."""
    return model.rpartition("/")[2].casefold()


def _lengths_differ(rows: Sequence[InferenceRow], labels: Labels) -> list[str]:
    """Name the endpoints whose answers are longer than another's under the same load, each with its lengths."""
    by_cell = [
        {r.endpoint: r.completion_tokens for r in rows if r.cell == cell and r.completion_tokens}
        for cell in unique(row.cell for row in rows)
    ]
    apart = [own for own in by_cell if own and max(own.values()) > LENGTHS_DIFFER * min(own.values())]
    if not apart:
        return []
    names = unique(name for own in apart for name in own)
    means = {name: span([own[name] for own in apart if name in own]) for name in names}
    return [f"different mean output lengths in tokens ({_pairs(means, labels)})"]


def _sessions_differ(done: Sequence[InferRoundRecord], names: Sequence[str]) -> list[str]:
    """Tell from the recorded times whether one endpoint's rounds all came before another's."""
    apart = []
    for cell in unique(record.cell for record in done):
        spans = [_times([r for r in done if (r.endpoint, r.cell) == (name, cell)]) for name in names]
        there = sorted(span for span in spans if span and span[0] != span[-1])
        if any(left[-1] <= right[0] for left, right in itertools.pairwise(there)):
            apart.append(cell)
    return [f"time: the rounds of {listed(apart)} were not interleaved"] if apart else []


def _times(records: Iterable[InferRoundRecord]) -> list[datetime.datetime]:
    return sorted(datetime.datetime.fromisoformat(r.started_at) for r in records if r.started_at)


def _facts_of(done: Sequence[InferRoundRecord], key: str) -> dict[str, str]:
    return {r.endpoint: str(r.facts[key]) for r in done if r.facts and r.facts.get(key) is not None}


def _pairs(facts: Mapping[str, str], labels: Labels) -> str:
    return ", ".join(f"{labels.get(name, name)}: {fact}" for name, fact in facts.items())


def completeness(
    planned: Sequence[TrainRunRecord | InferRoundRecord | SearchRecord], rows: Sequence[InferenceRow]
) -> str:
    """Say how much of the plan was measured, and how many requests were answered."""
    states = [record.state for record in planned]
    asked, good = sum(row.requests for row in rows), sum(row.successes for row in rows)
    said = [f"{states.count('measured'):,} of {len(states):,} planned measurements made"] if states else []
    said += [f"{good:,} of {asked:,} requests answered"] if asked else []
    return "; ".join(said)


# --- both ---------------------------------------------------------------------------------------------------


def absent(planned: Sequence[TrainRunRecord | InferRoundRecord | SearchRecord]) -> str:
    """Say how many of the planned measurements are missing; empty when none is."""
    states: list[str] = [record.state for record in planned]
    lacking = [state for state in states if state != "measured"]
    if not lacking:
        return ""
    kinds = listed([f"{lacking.count(state)} {state}" for state in unique(lacking)])
    return f"{len(lacking)} of {len(states)} planned measurements are not in this report: {kinds}."


def unknown_activity(runs: Sequence[TrainRunRecord], rounds: Sequence[InferRoundRecord]) -> str:
    """Say of how many measurements on this host it is not known whether it was quiet; empty when it is of all."""
    found = {
        "training runs": [run.host_activity for run in runs if run.state == "measured" and run.busy],
        "rounds": [record.host_activity for record in rounds if record.state == "measured"],
    }
    said = [told for what, activities in found.items() if (told := unknown_in_words(activities, what))]
    return f"It is not known whether the machine was quiet during {listed(said)}." if said else ""


def knees(curves: Sequence[Sequence[LoadCurve]], labels: Mapping[str, str]) -> list[str]:
    """Return a sentence for each scenario and shape in which an endpoint's load curve has a knee."""
    groups = [[curve for curve in group if curve.knee] for group in curves]
    return [_knees(group, labels) for group in groups if group]


def _knees(curves: Sequence[LoadCurve], labels: Mapping[str, str]) -> str:
    first = curves[0].loads[0].row
    shape = [f"{first.context_tokens:,} context tokens"] if first.context_tokens else []
    shape += [f"at most {first.max_tokens:,} output tokens"] if first.max_tokens else []
    where = f"{first.scenario} ({', '.join(shape)})" if shape else str(first.scenario)
    told = [_knee(curve, labels.get(curve.endpoint, curve.endpoint)) for curve in curves]
    return (
        f"In {where}, the knee of speed per user against system throughput is at {listed(told)}: beyond it, users "
        "lose a larger share of their range of speeds than the system gains of its own."
    )


def _knee(curve: LoadCurve, name: str) -> str:
    knee = curve.knee
    if knee is None:
        return ""
    sure = f"{curve.rounds} rounds, {p_in_words(curve.p_value or 0.0)}"
    return (
        f"{knee.row.concurrency:,} in flight for {name} ({number(knee.point.user_tok_per_s)} output tok/s per user, "
        f"{number(knee.point.system_tok_per_s)} of the system; {sure})"
    )
