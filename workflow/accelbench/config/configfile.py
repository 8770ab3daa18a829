"""Config files: read, merged, and checked, with one line per mistake that names file and key.

Files are merged in order: mappings merge, lists and values replace. One exception combines several sites'
files into one report: what runs (`RUN_LISTS`) is the union over the overlays, and replaces the default's lists.
"""

import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from accelbench.config import Config, Endpoint
from accelbench.errors import UserError
from accelbench.foreign import complaint, parse_yaml, read_yaml
from accelbench.store.files import write_if_changed
from accelbench.store.paths import snakemake

RUN_LISTS = (("training", "run"), ("inference", "run"), ("inference", "scenarios_run"))
_Tree = dict[str, Any]
_Key = str | int
Keys = Sequence[_Key]
KeyPath = tuple[_Key, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice (plain YAML readers keep the last silently)."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                line = key.start_mark.line + 1
                raise UserError(f"{self.name}: line {line} has the key {key.value} a second time; keep one of them.")
            seen.add(key.value)
        return node


def read(path: Path) -> _Tree:
    """Read one YAML config file as a mapping."""
    try:
        tree = read_yaml(path, _Loader)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {complaint(error)}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: must hold keys and values, such as `training:` and its keys.")
    return tree


def merge(base: _Tree, overlays: Sequence[_Tree], overrides: _Tree | None = None) -> _Tree:
    """Merge `base`, the overlays in order, and the overrides of the command line."""
    merged: _Tree = base
    for overlay in overlays:
        merged = _merged(merged, overlay)
    for section, key in RUN_LISTS:
        lists = [_get(overlay, (section, key)) for overlay in overlays]
        given = [names for names in lists if isinstance(names, list)]
        if len(given) > 1:
            union = list(dict.fromkeys(name for names in given for name in names))
            merged = _merged(merged, {section: {key: union}})
    merged = _merged(merged, overrides or {})
    return merged


def load_config(
    base: Path, overlays: Sequence[Path] = (), overrides: _Tree | None = None, module: _Tree | None = None
) -> Config:
    """Read, merge and check config files; `module` is the config that another workflow passes, merged last.

    Raises UserError with one line per mistake, each naming the file that holds the key, the key, and what
    to write instead.
    """
    overlays = [path for path in overlays if path.resolve() != base.resolve()]
    overrides = _as_yaml(overrides)
    trees = {str(path): read(path) for path in [base, *overlays]}
    trees |= {"the module's config": module} if module else {}
    merged = merge(trees[str(base)], [tree for name, tree in trees.items() if name != str(base)], overrides)
    return _checked(merged, {**trees, "--config": overrides} if overrides else trees)


def read_endpoint(path: Path, name: str) -> Endpoint:
    """Read a file that holds the keys of one endpoint. Raises UserError as `load_config` does."""
    tree = {"inference": {"endpoints": {name: read(path)}}}
    return _checked(tree, {str(path): tree}).inference.endpoints[name]


def _checked(merged: _Tree, sources: dict[str, _Tree]) -> Config:
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        mistakes = _mistakes(error.errors(include_url=False))
        raise UserError("\n".join(_sentence(path, found, sources) for path, found in mistakes.items())) from None


def load_merged(path: Path) -> Config:
    """Read the merged config that a run wrote (results/run_config.yaml)."""
    if not path.exists():
        raise UserError(f"{path} is not there. Run `{snakemake()} --cores 4` first, or name your config file.")
    return load_config(path)


def write_merged(config: Config, path: Path) -> None:
    """Write the config with its defaults left out, so that a job or a later report can read it."""
    text = yaml.safe_dump(config.model_dump(exclude_unset=True), sort_keys=False, allow_unicode=True)
    write_if_changed(path, f"# Written by the workflow: the merged, checked config of the last run.\n{text}")


def _as_yaml(given: Any) -> Any:
    """Parse what Snakemake's `--config` leaves as text (true, null, all within braces), as in a config file."""
    if isinstance(given, Mapping):
        return {_as_yaml(key): _as_yaml(value) for key, value in given.items()}
    if isinstance(given, list):
        return [_as_yaml(value) for value in given]
    if not isinstance(given, str):
        return given
    try:
        value = parse_yaml(given)
    except yaml.YAMLError:
        return given
    return value if value is None or isinstance(value, bool | int | float) else given


def _merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _get(tree: Any, path: Keys) -> Any:
    for key in path:
        if isinstance(tree, Mapping):
            tree = tree.get(key)
        elif isinstance(tree, list) and isinstance(key, int) and key < len(tree):
            tree = tree[key]
        else:
            return None
    return tree


def _has(tree: Any, path: Keys) -> bool:
    if not path:
        return True
    above = _get(tree, path[:-1])
    return path[-1] in above if isinstance(above, Mapping) else _get(tree, path) is not None


# --- mistakes -------------------------------------------------------------------------------------------------

WANTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "text (put it in quotes)",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}
BOUNDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
UNSHOWN = {"token", "headers", "secret_headers", "base_url", "health_url"}  # may hold a secret by mistake
_NAME = "1 to 40 of a-z, 0-9 and . _ -, with a letter or digit at both ends (it is used in paths)"


def _mistakes(errors: Sequence[Any]) -> dict[KeyPath, list[Any]]:
    """Group errors by key: a value that fits none of several types is one mistake.

    If only its content is wrong for one type, only that error is kept.
    """
    found: dict[KeyPath, list[Any]] = {}
    for error in errors:
        found.setdefault(_path(error), []).append(error)
    for path, same in found.items():
        inside = any(other != path and other[: len(path)] == path for other in found)
        found[path] = [error for error in same if error["type"] not in WANTED] or ([] if inside else same)
    return {path: same for path, same in found.items() if same}


def _path(error: Any) -> KeyPath:
    """Return the key that an error is about."""
    path, nodes = _place(error["loc"])
    if error["type"].startswith("union_tag"):
        path += [node["discriminator"]["propertyName"] for node in nodes if "discriminator" in node]
    key = error.get("ctx", {}).get("key")
    return (*path, *key.split(".")) if key else tuple(path)


def _sentence(path: KeyPath, errors: Sequence[Any], sources: dict[str, _Tree]) -> str:
    """Describe one mistake as `file: key is value; it must …`: the last file with the key, or else with its parent."""
    held = (path[:length] for length in range(len(path), -1, -1))
    where = next(name for part in held for name in reversed(sources) if _has(sources[name], part))
    return f"{where}: {'.'.join(map(str, path)) or 'the config'} {_complaint(errors, path)}"


def _complaint(errors: Sequence[Any], path: KeyPath) -> str:
    error = errors[0]
    kind, context = error["type"], error.get("ctx", {})
    given = "" if UNSHOWN.intersection(path) else f"is {_short(error['input'])}; it "
    if kind == "accelbench":
        return f"{'' if 'key' in context else given}{context['text']}."
    if kind in ("extra_forbidden", "invalid_key"):
        return f"is not a key; {_suggestion(error['loc'])}"
    if kind == "missing":
        return "is missing; it must be given."
    if kind.startswith("union_tag"):
        tags = [tag for node in _place(error["loc"])[1] for tag in node.get("discriminator", {}).get("mapping", ())]
        given = f"is {context['tag']!r}" if "tag" in context else "is missing"
        return f"{given}; it must be {' or '.join(map(repr, tags))}."
    if kind in BOUNDS:
        words = kind.replace("_", " ").replace("than equal", "than or equal to")
        return f"{given}must be {words} {context[BOUNDS[kind]]}, or left out."
    if kind in ("too_short", "string_too_short"):
        return f"is empty; it must have at least one {'entry' if kind == 'too_short' else 'character'}."
    if kind == "literal_error":
        return f"{given}must be {context['expected']}."
    if kind == "string_pattern_mismatch":
        shown = "" if path[-1] in ("env", error["input"]) else given
        return f"{shown}must be {'the name of an environment variable' if path[-1] == 'env' else _NAME}."
    if kind in WANTED:
        return f"{given}must be {' or '.join(WANTED[each['type']] for each in errors)}."
    return f"{given}{error['msg'].replace('Input should', 'must')}."


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _suggestion(loc: Keys) -> str:
    """Suggest the key that was probably meant, from the models."""
    beside = sorted({key for node in _place(loc[:-1])[1] for key in node.get("properties", {})})
    close = difflib.get_close_matches(str(loc[-1]), beside, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "remove it."


# --- the place of a mistake, from the schema --------------------------------------------------------------------


def _place(loc: Keys) -> tuple[list[_Key], list[_Tree]]:
    """Return the key of pydantic's `loc`, and what the schema allows there.

    `loc` also names the member of a union that was tried (`torch`, `constrained-int`), or says `[key]`: those are not
    keys of the file. A file may use the same words as keys, so only the schema can tell them apart.
    """
    path: list[_Key] = []
    nodes = _members(_schema())
    for part in loc:
        tags = {tag: ref for node in nodes for tag, ref in node.get("discriminator", {}).get("mapping", {}).items()}
        if tags:
            nodes = _members({"$ref": tags[str(part)]}) if part in tags else nodes
        elif isinstance(part, int) or (part != "[key]" and any(node.get("type") == "object" for node in nodes)):
            path.append(part)
            nodes = [member for node in nodes for child in _children(node, part) for member in _members(child)]
    return path, nodes


def _children(node: _Tree, key: _Key) -> list[_Tree]:
    patterns = node.get("patternProperties", {}).values()
    child = node.get("properties", {}).get(key)
    return [each for each in (child, *patterns, node.get("additionalProperties"), node.get("items")) if each][:1]


def _members(node: _Tree) -> list[_Tree]:
    """Return a schema node's variants, references followed; a tagged union stays whole."""
    if "$ref" in node:
        return _members(_schema()["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    variants = [variant for key in ("anyOf", "allOf") for variant in node.get(key, [])]
    return [member for variant in variants for member in _members(variant)] or [node]


@functools.cache
def _schema() -> _Tree:
    return Config.model_json_schema()
