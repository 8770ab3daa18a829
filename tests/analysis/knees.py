"""Load curves that are straight lines: how often a knee is named on one."""

from collections.abc import Callable

import numpy as np

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.load import Load
from accelbench.analysis.load_curve import load_curves
from accelbench.report.sentences import knees
from accelbench.store.records import RequestRecord

from .records import measured, request, rows_of, sides

TOKENS, PER_SLOT = 60, 10
SLOTS = (1, 2, 3, 4)


def has_a_knee(rounds: int, noise_sd: float = 0.03) -> Callable[[np.random.Generator], bool]:
    """Simulate an endpoint whose speed of the system is a straight line of the speed per user, with noisy rounds."""

    def shows(draw: np.random.Generator) -> bool:
        requests = [r for number in range(rounds) for r in _round(draw, number + 1, noise_sd)]
        loads = {f"load-c{slots}": Load("load", slots) for slots in SLOTS}
        keys = dict.fromkeys((r.endpoint, r.round, r.cell) for r in requests)
        records = [measured(*key) for key in keys]
        rows: list[InferenceRow] = rows_of(records, requests, loads, None, 60.0)
        return bool(knees(load_curves(rows, sides(records, requests, rows)), {}))

    return shows


def _round(draw: np.random.Generator, number: int, noise_sd: float) -> list[RequestRecord]:
    found = []
    for slots in SLOTS:
        of_user = 200 / (slots + 1)  # so that the system's speed is 200 - of_user
        e2e_s = TOKENS / of_user * float(np.exp(draw.normal(0, noise_sd)))
        found += [
            request(
                endpoint="one", cell=f"load-c{slots}", round=number, key=f"{slot}.{n}", completion_tokens=TOKENS,
                dequeued_unix_s=1e9 + n * e2e_s, sent_unix_s=1e9 + n * e2e_s, end_unix_s=1e9 + (n + 1) * e2e_s,
                e2e_s=e2e_s, ttft_s=None, tpot_s=None,
            )
            for slot in range(slots)
            for n in range(PER_SLOT)
        ]  # fmt: skip
    return found
