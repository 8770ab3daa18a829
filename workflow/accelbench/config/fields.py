"""What all config models share: measured and descriptive fields, their types, and error messages."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
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


_OBJECTIVE = re.compile(r"(ttft|tpot|e2e)_p(\d+\.?\d*)<=?(\d*\.?\d+)|success>=?(\d*\.?\d+)")

Name = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$", description="Used in paths: [a-z0-9._-]."),
]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
PositiveInt = Annotated[int, Field(ge=1)]
Names = Annotated[list[Name], AfterValidator(_unique)]
Sizes = Annotated[list[PositiveInt], Field(min_length=1), AfterValidator(_unique)]
Real = Annotated[float, BeforeValidator(_float)]


@dataclass(frozen=True, slots=True)
class Objective:
    """The least share of all requests that must succeed or, with a limit, be answered within it."""

    text: str
    share: float
    limit: dict[str, float] | None = None
    """A latency and its most seconds."""

    @property
    def requests(self) -> int:
        """The fewest requests that can tell: of so many, one may miss it."""
        return math.ceil(1 / (1 - self.share) - 1e-9)


def objectives_of(text: str) -> list[Objective]:
    """Read "ttft_p95<0.5,tpot_p95<0.05,success>0.99". Raises ValueError, which says how it is written."""
    found = []
    for part in text.replace(" ", "").split(","):
        match = _OBJECTIVE.fullmatch(part)
        latency, percent, most_s, success = match.groups() if match else (None, "0", "0", None)
        share = float(success) if success else float(percent) / 100
        if not 0 < share < 1:
            like = "ttft_p95<0.5, tpot_p95<0.05, e2e_p99<20 or success>0.99"
            raise ValueError(f"must be like {like}, which {part!r} is not")
        found.append(Objective(part, share, {f"{latency}_s": float(most_s)} if latency else None))
    return found


def _objectives(text: str) -> str:
    try:
        objectives_of(text)
    except ValueError as error:
        raise PydanticCustomError("accelbench", "{text}", {"text": str(error)}) from None
    return text


Objectives = Annotated[str, AfterValidator(_objectives)]


class Model(BaseModel):
    """Base of all config models: unknown keys are errors, types are strict, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
