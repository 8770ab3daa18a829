"""The most tokens per second that memory bandwidth allows one request: each token reads the active weights once.

Speculative decoding makes several tokens of one read, so that no such bound holds where a server reports it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from accelbench.errors import UserError
from accelbench.foreign_yaml import complaint, read_yaml
from accelbench.paths import found

HARDWARE = Path("config/hardware.yaml")
SPECULATION = ("acceptance_rate", "draft_n", "accepted_prediction_tokens")  # as SambaNova, llama.cpp and OpenAI say it


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on the decode speed of one request, and where its figures come from."""

    tok_per_s: float
    sources: tuple[str, ...]


def bandwidth_limit(machine: str, count: int, model: str, known: Path = HARDWARE) -> Limit:
    """Return the bound of `count` machines that share a model's weights. Raises UserError for what is not known."""
    known = found(known)
    try:
        hardware = read_yaml(known)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{known} can't be read: {error}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{known} can't be read: {complaint(error)}.") from None
    bandwidth = _entry(hardware, known, "machines", machine, "memory_gb_per_s")
    read = _entry(hardware, known, "models", model, "read_gb_per_token")
    return Limit(
        count * bandwidth["memory_gb_per_s"] / read["read_gb_per_token"], (bandwidth["source"], read["source"])
    )


def speculates(server_timings: dict[str, Any]) -> bool:
    """Tell whether a server reports that it guesses tokens ahead."""
    return any(server_timings.get(key) for key in SPECULATION)


def _entry(hardware: Any, known: Path, section: str, name: str, figure: str) -> dict[str, Any]:
    entries = hardware.get(section) if isinstance(hardware, dict) else None
    entry = entries.get(name) if isinstance(entries, dict) else None
    if entry is None:
        there = ", ".join(entries) if isinstance(entries, dict) else "nothing"
        raise UserError(f"{known}: {section} has no {name}; it has {there}. Add it, with its source.")
    value = entry.get(figure) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or not entry.get("source"):
        raise UserError(f"{known}: {section}.{name} must have {figure}, a number above 0, and its source.")
    return dict(entry)
