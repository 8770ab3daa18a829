"""A params file as the torch backend reads it: each key asked for is remembered, the others can be named.

What the code never asks for it can't honour; so the list of keys that are not honoured needs no upkeep.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from accelbench.errors import UserError
from accelbench.foreign import complaint, read_yaml

SettingPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """One mapping of a params file and where it stands in it; all mappings of a file share `asked`."""

    file: Path
    here: SettingPath
    values: Mapping[str, Any]
    asked: set[SettingPath] = field(default_factory=set)

    def at(self, *keys: str) -> "Settings":
        """Return a mapping further down; an empty one where there is none."""
        values: Any = self.values
        for depth, key in enumerate(keys, 1):
            values = values.get(key)
            if values is None:
                values = {}
            if not isinstance(values, Mapping):
                raise self.refusal(*keys[:depth], wanted="must hold keys and values")
        return Settings(self.file, (*self.here, *keys), values, self.asked)

    def each(self, key: str) -> list["Settings"]:
        """Return the mappings of a list; none where there is no list."""
        items = self.values.get(key) or []
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise self.refusal(key, wanted="must be a list of mappings")
        return [Settings(self.file, (*self.here, key, n), item, self.asked) for n, item in enumerate(items)]

    def only_key(self, what: str) -> str:
        """Return the one key of a mapping that names a class, such as {AdamW: {…}}."""
        if len(self.values) != 1:
            found = " and ".join(map(str, self.values)) or "nothing"
            raise UserError(f"{self.file}: {name_of(self.here)} names {found}; name one {what} there.")
        return str(next(iter(self.values)))

    def value(self, key: str, default: Any = None) -> Any:
        """Return a value as it stands, the default where there is none or null."""
        self.asked.add((*self.here, key))
        found = self.values.get(key)
        return default if found is None else found

    def integer(self, key: str, default: int | None = None, *, at_least: int = 1) -> int:
        """Return an integer."""
        found = self.value(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or found < at_least:
            raise self.refusal(key, wanted=f"must be an integer, {at_least} or more")
        return found

    def number(self, key: str, default: float | None = None) -> float:
        """Return a number, 0 or more; 3e-4, a string for YAML 1.1, is one for ModelZoo, so here too."""
        found = self.value(key, default)
        try:
            number = float("nan") if isinstance(found, bool) else float(found)
        except (TypeError, ValueError):
            number = float("nan")
        if not 0 <= number < float("inf"):
            raise self.refusal(key, wanted="must be a number, 0 or more")
        return number

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        found = self.value(key, default)
        if not isinstance(found, bool):
            raise self.refusal(key, wanted="must be true or false")
        return found

    def only(self, key: str, *accepted: Any, default: Any) -> Any:
        """Return a value that must be one of those: any other is another run. The default is ModelZoo's."""
        found = self.value(key, default)
        if found not in accepted:
            raise self.refusal(
                key,
                wanted=f"can only be {' or '.join(map(_yaml, accepted))} in this backend",
                default="" if default is None else f", which for ModelZoo means {_yaml(default)}",
            )
        return found

    def honours(self, key: str, *accepted: Any) -> None:
        """Count a key as honoured where it says what this backend does anyway."""
        if self.values.get(key) in accepted:
            self.asked.add((*self.here, key))

    def refusal(self, *keys: str, wanted: str, default: str = "") -> UserError:
        """Return the error of one key: where it stands, what is there, what must be."""
        found = self.values.get(keys[0]) if len(keys) == 1 else "something else"
        what = f"missing{default}" if found is None else _yaml(found)
        return UserError(f"{self.file}: {name_of((*self.here, *keys))} is {what}; it {wanted}.")

    def unasked(self) -> list[str]:
        """Return the keys that nobody asked for; a mapping nobody looked into is named as one."""
        return [name_of(key) for key in _unasked(self.values, self.here, self.asked)]


def read_settings(file: Path) -> Settings:
    """Read a params file of one trainer: a mapping, or a list of one.

    Raises UserError if it can't be read, or holds no trainer.
    """
    try:
        tree = read_yaml(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise UserError(f"{file}: the params file can't be read ({reason}).") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: the params file can't be read as YAML ({complaint(error)}).") from None
    here: SettingPath = ()
    trainers = tree.get("trainer") if isinstance(tree, Mapping) else None
    if isinstance(trainers, list):
        if len(trainers) != 1:
            raise UserError(f"{file}: trainer is a list of {len(trainers)}; this backend runs one: list just that one.")
        tree, here = trainers[0], ("trainer", 0)
    trainer = tree.get("trainer") if isinstance(tree, Mapping) else None
    if not isinstance(trainer, Mapping):
        missing = name_of((*here, "trainer"))
        old = " (runconfig is of ModelZoo 1.x)" if isinstance(tree, Mapping) and "runconfig" in tree else ""
        raise UserError(f"{file}: {missing} is missing{old}; write trainer: {{init: {{…}}, fit: {{…}}}}.")
    return Settings(file, here, tree)


def name_of(key: SettingPath) -> str:
    """Return a key as users write it: trainer.init.schedulers[0].LinearLR."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")


def _unasked(node: Any, here: SettingPath, asked: set[SettingPath]) -> Iterator[SettingPath]:
    if here in asked:
        return
    inner = list(node.items() if isinstance(node, Mapping) else enumerate(node) if _is_list(node) else ())
    entered = any(key[: len(here)] == here for key in asked)
    if inner and (entered or len(inner) == 1 or _is_list(node)):
        for key, value in inner:
            yield from _unasked(value, (*here, key), asked)
    else:
        yield here


def _is_list(node: Any) -> bool:
    return isinstance(node, list) and any(isinstance(item, Mapping) for item in node)


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n").removesuffix("\n...")
