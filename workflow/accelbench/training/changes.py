"""What rendering changed in a params file: each value that is not the base file's, as a line for people."""

import json
from collections.abc import Iterator
from typing import Any

from accelbench.training.settings import Key, name_of

ABSENT = object()


def changes(base: Any, rendered: Any) -> list[str]:
    """Return "trainer.init.seed 7 → 1" for each value that differs; – stands for one that is not there."""
    return [f"{name_of(key)} {_shown(old)} → {_shown(new)}" for key, old, new in _differing(base, rendered, ())]


def _differing(old: Any, new: Any, here: Key) -> Iterator[tuple[Key, Any, Any]]:
    added = (old is ABSENT or old is None) and bool(_parts(new))
    if added or (isinstance(new, dict | list) and type(old) is type(new)):
        before, after = _parts(old), _parts(new)
        for part in {**before, **after}:
            yield from _differing(before.get(part, ABSENT), after.get(part, ABSENT), (*here, part))
    elif (type(old), old) != (type(new), new):  # eval_frequency: 1 is every step, 1.0 after training
        yield here, old, new


def _parts(node: Any) -> dict[str | int, Any]:
    return dict(node) if isinstance(node, dict) else dict(enumerate(node)) if isinstance(node, list) else {}


def _shown(value: Any) -> str:
    return "–" if value is ABSENT else json.dumps(value, default=str, ensure_ascii=False)
