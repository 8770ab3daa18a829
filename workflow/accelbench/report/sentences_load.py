"""What the load curves carry, in words: up to which load the system gains more than its users lose."""

from collections.abc import Mapping, Sequence

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load_curve import LoadCurve, load_curves
from accelbench.records import RequestRecord
from accelbench.report.text import listed, number, p_in_words


def knees(
    rows: Sequence[InferenceRow], requests: Sequence[RequestRecord], labels: Mapping[str, str], tests: int = 1
) -> list[str]:
    """Return a sentence for each scenario and shape in which an endpoint's load curve has a knee.

    `tests`: how many the report makes.
    """
    groups = [[curve for curve in group if curve.knee] for group in load_curves(rows, requests, tests)]
    return [_knees(group, labels) for group in groups if group]


def _knees(curves: Sequence[LoadCurve], labels: Mapping[str, str]) -> str:
    first = curves[0].loads[0].row
    shape = [f"{first.context_tokens:,} context tokens"] if first.context_tokens else []
    shape += [f"at most {first.max_tokens:,} output tokens"] if first.max_tokens else []
    where = f"{first.scenario} ({', '.join(shape)})" if shape else str(first.scenario)
    told = [_knee(curve, labels.get(curve.endpoint, curve.endpoint)) for curve in curves]
    return (
        f"In {where}, the knee of speed per user against speed of the system lies at {listed(told)}: beyond, users "
        "lose more of their range of speeds than the system gains of its own."
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
