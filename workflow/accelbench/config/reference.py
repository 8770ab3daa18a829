"""The config reference, written from the config models: every key with its type, default and meaning."""

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from accelbench.config import Config

_HEAD = """# Every key of the config

Written from the config models by `make schema`; a test fails when it drifts. Editors complete and check config
files against `config/schema.json`. *Measured* keys are part of the spec: changing one repeats only the measurements
that it affects. Changing any other key repeats no measurement. [The glossary](glossary.md) explains the terms.
"""


def config_reference() -> str:
    """Return the reference as Markdown, one table per model, in the order in which a config holds them."""
    return "\n".join([_HEAD, *(_section(model) for model in _models(Config))])


def _section(model: type[BaseModel]) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    doc = (model.__doc__ or "").strip()
    return "\n".join(
        [
            f"## {model.__name__}\n",
            f"{doc}\n",
            "| key | type | default | | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _row(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kind = "measured" if extra.get("measured", True) else ""
    cells = [f"`{name}`", _type(field.annotation), _default(field), kind, field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    return "–" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"name → {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return {int: "integer", float: "number", str: "text", bool: "true or false"}.get(annotation, "anything")


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and all that its fields hold, each once, depth first."""
    found = [model]
    for field in model.model_fields.values():
        for inner in _inner(field.annotation):
            found += [nested for nested in _models(inner) if nested not in found]
    return found


def _inner(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _inner(argument)
