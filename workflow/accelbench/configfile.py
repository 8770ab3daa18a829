"""Config files: read, merged, and checked, with one line per mistake that names file and key.

Files are merged in order: mappings merge, lists and values replace. One exception makes several sites' files
add up in one report: what runs (`RUN_LISTS`) is the union over the overlays given, in place of the default's.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.files import write_if_changed

RUN_LISTS = (("training", "run"), ("inference", "run"), ("inference", "scenarios_run"))
Tree = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice (plain YAML readers keep the last silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise UserError(f"{self.name}: line {line} has the key {key} a second time; keep one of them.")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(path: Path) -> Tree:
    """Read one YAML config file as a mapping."""
    try:
        with path.open(encoding="utf-8") as stream:
            tree = yaml.load(stream, _Loader)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no UTF-8 text.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path}: {where}{getattr(error, 'problem', None) or 'is no YAML'}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: must hold keys and values, such as `training:`, not a {type(tree).__name__}.")
    return tree


def merge(base: Tree, overlays: Sequence[Tree], overrides: Tree | None = None) -> Tree:
    """Return `base` under the overlays, in order, under the overrides of the command line."""
    merged: Tree = base
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


def load(base: Path, overlays: Sequence[Path] = (), overrides: Tree | None = None) -> Config:
    """Read, merge and check config files.

    Raises UserError with one line per mistake, each naming the file that holds the key, the key, and what
    to write instead.
    """
    overlays = [path for path in overlays if path.resolve() != base.resolve()]
    trees = {str(path): read(path) for path in [base, *overlays]}
    merged = merge(trees[str(base)], [trees[str(path)] for path in overlays], overrides)
    sources = {**trees, "--config": overrides or {}}
    try:
        return Config.model_validate(merged)
    except ValidationError as errors:
        lines = [_sentence(error, sources) for error in errors.errors(include_url=False)]
        raise UserError("\n".join(dict.fromkeys(lines))) from None


def load_merged(path: Path) -> Config:
    """Read the merged config that a run wrote (results/run_config.yaml)."""
    if not path.exists():
        raise UserError(f"{path} is not there. Run `snakemake --cores 4` first, or name your config file.")
    return load(path)


def write_merged(config: Config, path: Path) -> None:
    """Write the config with its defaults left out, so that a job or a later report can read it."""
    text = yaml.safe_dump(config.model_dump(exclude_unset=True), sort_keys=False, allow_unicode=True)
    write_if_changed(path, f"# Written by the workflow: the merged, checked config of the last run.\n{text}")


def _merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _get(tree: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        if isinstance(tree, Mapping):
            tree = tree.get(key)
        elif isinstance(tree, list) and isinstance(key, int) and key < len(tree):
            tree = tree[key]
        else:
            return None
    return tree


def _sentence(error: Any, sources: Mapping[str, Tree]) -> str:
    """Say one pydantic error as `file: key is value; it must …`."""
    context = error.get("ctx", {})
    path = [part for part in error["loc"] if not _is_variant(part)]
    if "key" in context:
        path += context["key"].split(".")
    key = ".".join(str(part) for part in path) or "the config"
    holders = [name for name, tree in sources.items() if _get(tree, path) is not None]
    holders = holders or [name for name, tree in sources.items() if _get(tree, path[:-1]) is not None]
    where = (holders or list(sources))[-1]
    return f"{where}: {key} {_complaint(error, context, path)}"


VARIANTS = {
    "int",
    "float",
    "torch",
    "cerebras",
    "llama.cpp",
    "transformers",
    "constrained-int",
    "list[constrained-int]",
}


def _is_variant(part: Any) -> bool:
    """Tell pydantic's names of union members from keys of the file."""
    return isinstance(part, str) and (part in VARIANTS or "[" in part or "function-" in part)


def _complaint(error: Any, context: Mapping[str, Any], path: Sequence[str | int]) -> str:
    kind, value = error["type"], error["input"]
    if kind == "accelbench":
        text = str(context["text"])
        return f"{text}." if "key" in context else f"is {_short(value)}; it {text}."
    if kind == "extra_forbidden":
        return f"is not a key{_suggestion(path)}."
    if kind == "missing":
        return "is missing; it must be given."
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind in bounds:
        words = kind.replace("_", " ").replace("than equal", "than or equal to")
        return f"is {_short(value)}; it must be {words} {context[bounds[kind]]}, or left out."
    if kind == "too_short":
        return "is empty; it must have at least one entry."
    if kind == "literal_error":
        return f"is {_short(value)}; it must be {context['expected']}."
    if kind == "union_tag_invalid":
        return f"has {context['discriminator']} {_short(context['tag'])}; it must be {context['expected_tags']}."
    if kind == "union_tag_not_found":
        return f"has no {context['discriminator']}; it must say which one it is."
    if kind == "string_pattern_mismatch":
        return f"is {_short(value)}; it must be made of a-z, 0-9 and . _ - (it stands in paths)."
    wanted = {
        "int_type": "an integer", "float_type": "a number", "string_type": "text (put it in quotes)",
        "bool_type": "true or false", "list_type": "a list", "dict_type": "a mapping (key: value)",
        "model_type": "a mapping (key: value)",
    }  # fmt: skip
    if kind in wanted:
        return f"is {_short(value)}; it must be {wanted[kind]}."
    return f"is {_short(value)}; {error['msg'][:1].lower()}{error['msg'][1:]}."


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _suggestion(path: Sequence[str | int]) -> str:
    """Name the key that was probably meant, from the models themselves."""
    close = difflib.get_close_matches(str(path[-1]), sorted(_keys_beside(path)), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; remove it"


def _keys_beside(path: Sequence[str | int]) -> set[str]:
    """Return the keys allowed where the last key of `path` stands, over all variants."""
    schema = Config.model_json_schema()
    nodes = [schema]
    for part in path[:-1]:
        nodes = [child for node in nodes for child in _children(node, str(part), schema)]
    return {key for node in nodes for resolved in _resolve(node, schema) for key in resolved.get("properties", {})}


def _children(node: Tree, key: str, schema: Tree) -> list[Tree]:
    found = []
    for resolved in _resolve(node, schema):
        child = resolved.get("properties", {}).get(key) or resolved.get("additionalProperties")
        child = child or next(iter(resolved.get("patternProperties", {}).values()), None)
        if isinstance(child, dict):
            found.append(child)
    return found


def _resolve(node: Tree, schema: Tree) -> list[Tree]:
    if "$ref" in node:
        return _resolve(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    variants = [variant for key in ("anyOf", "oneOf", "allOf") for variant in node.get(key, [])]
    return [resolved for variant in variants for resolved in _resolve(variant, schema)] or [node]
