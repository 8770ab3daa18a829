"""Several rounds of a load, on one endpoint or on some in turn, outside any workflow.

The endpoints take turns in the workflow's own balanced order. In a round all are asked the same questions, each with
random prefixes of its own, so that no cache of one answers another.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from accelbench.config import Endpoint, PromptSet, Scenario
from accelbench.errors import keys_called
from accelbench.inference.infer import RECORD
from accelbench.load.loadtest import CELL, measure_load, option_of, questions_of
from accelbench.plan.specs import InferRound, balanced_orders
from accelbench.store.files import read_record

DEFAULT_ROUNDS = 6
"""As many to begin with: the fewest, with each side as often first, that show a difference of twice the spread
between rounds even as the first of all tests that a pair makes (Holm)."""


def measure_rounds(
    sides: Mapping[Path, Endpoint],
    scenario: Scenario,
    prompts: PromptSet,
    *,
    quiet: bool = False,
    called: Callable[[str], str] = option_of,
) -> None:
    """Put each endpoint under the load once a round, into r1, r2, … of its folder, which names it.

    Each round waits for a quiet host. Finished rounds are kept: the same command with more rounds adds to them.
    `called`: how errors call a config key.
    Raises UserError when an endpoint can't be asked, or when a folder holds another load test.
    """
    folders = {folder.name: folder for folder in sides}
    orders = balanced_orders(list(folders), " ".join(sorted(folders)))
    planned = [(number, name) for number in range(1, scenario.rounds + 1) for name in next(orders)]
    with keys_called(called):
        questions = questions_of(prompts, next(iter(sides)))
        lasted_s: list[float] = []
        for place, (number, name) in enumerate(planned):
            folder = folders[name] / f"r{number}"
            head = f"round {number} of {scenario.rounds}, {name}{_left(lasted_s, len(planned) - place)}: "
            was_over, begun_s = "ended_at" in read_record(folder / RECORD), time.monotonic()
            item = InferRound(name, CELL, number)
            measure_load(item, sides[folders[name]], scenario, questions, folder, head=head, quiet=quiet, waits=True)
            lasted_s += [] if was_over else [time.monotonic() - begun_s]


def _left(lasted_s: list[float], measurements: int) -> str:
    """Return about how long all further measurements take, by those of this session."""
    if not lasted_s:
        return ""
    left_s = measurements * sum(lasted_s) / len(lasted_s)
    return f" (all: {left_s:.0f} s to go)" if left_s < 120 else f" (all: {left_s / 60:.0f} min to go)"
