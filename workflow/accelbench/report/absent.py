"""What is planned and not there, one line per cause: forty runs that lack the same file lack it once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from accelbench.measurement import MEASURED, MEASURING_RULES
from accelbench.report.text import listed

MOST_NAMES = 5
FOLDER = re.compile(r"results/(?:training|inference)/[^\s:`,]+?/r\d+")
ANEW = f"--forcerun …/{MEASURED}`"


@dataclass(frozen=True, slots=True)
class Absent:
    """Measurements that are not there for one reason."""

    names: list[str]
    state: str
    why: str

    @property
    def what(self) -> str:
        """Name them, or the first of many."""
        more = len(self.names) - MOST_NAMES
        return listed([*self.names[:MOST_NAMES], f"{more:,} more"] if more > 0 else self.names)


def by_cause(found: Iterable[tuple[str, str, str]]) -> list[Absent]:
    """Group what is not there (name, state, why) by cause, in order of the first of each.

    What differs only in the folder is one cause; its commands then are those for all.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, state, why in found:
        groups.setdefault((state, FOLDER.sub("…", why)), []).append((name, why))
    return [
        Absent([name for name, _ in same], state, same[0][1] if len(same) == 1 else _of_all(cause))
        for (state, cause), same in groups.items()
    ]


def lines(found: Iterable[tuple[str, str, str]], noun: str) -> list[str]:
    """Return the groups as lines for a terminal: `failed: NAME: why`, or `failed: 4 runs: why` and their names."""
    told = []
    for each in by_cause(found):
        if len(each.names) == 1:
            told.append(f"  {each.state}: {each.names[0]}: {each.why}")
        else:
            told += [f"  {each.state}: {len(each.names):,} {noun}: {each.why}", f"    {each.what}"]
    return told


def _of_all(cause: str) -> str:
    return cause.replace(ANEW, f"--forcerun {' '.join(MEASURING_RULES)}`").replace(f" …/{MEASURED}`", "`")
