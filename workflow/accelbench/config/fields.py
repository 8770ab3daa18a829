"""What all config models share: measured and descriptive fields, their types, and error messages."""

import re
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError


def descriptive(default: Any, description: str, **constraints: Any) -> Any:
    """Declare a field that describes a measurement without changing what is measured."""
    extra: JsonDict = {"measured": False}
    if callable(default):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **constraints)
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def problem(key: str, text: str) -> PydanticCustomError:
    """Build the error for one key of the model being validated; `text` follows the key in the message."""
    return PydanticCustomError("accelbench", "{text}", {"key": key, "text": text})


def undefined(key: str, name: str, home: str, defined: Iterable[str]) -> PydanticCustomError:
    """Build the error for a key that names what `home` does not define."""
    return problem(key, f"names {name}, which {home} does not define; it has {', '.join(defined) or 'none'}")


def _unique(values: list[Any]) -> list[Any]:
    doubles = sorted({str(value) for value in values if values.count(value) > 1})
    if doubles:
        raise PydanticCustomError("accelbench", "{text}", {"text": f"must name each entry once: {', '.join(doubles)}"})
    return values


def _http_url(url: str) -> str:
    try:
        has_host = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:  # [::1 without its end, or no port of TCP
        has_host = False
    if not has_host or not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", url):
        raise PydanticCustomError(
            "accelbench", "{text}", {"text": "must be http(s)://host[:port]/path, without user, query or #"}
        )
    return url.rstrip("/")


def _float(value: Any) -> Any:
    return float(value) if type(value) is int else value


Name = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$", description="Used in paths: [a-z0-9._-]."),
]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
PositiveInt = Annotated[int, Field(ge=1)]
Names = Annotated[list[Name], AfterValidator(_unique)]
Sizes = Annotated[list[PositiveInt], Field(min_length=1), AfterValidator(_unique)]
Real = Annotated[float, BeforeValidator(_float)]


class Model(BaseModel):
    """Base of all config models: unknown keys are errors, types are strict, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
