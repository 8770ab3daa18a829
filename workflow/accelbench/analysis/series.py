"""A series: the runs, or rows, of one platform at one micro batch. Only within it are batch sizes compared."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar


class Sized(Protocol):
    """A run, or a row over its repeats."""

    @property
    def platform(self) -> str:
        """The platform's name."""

    @property
    def micro_batch_size(self) -> int | None:
        """As the config sets it."""


S = TypeVar("S", bound=Sized)


class Series(NamedTuple):
    """What a series is called by."""

    platform: str
    micro: int | None
    """None where the platform has one micro batch for all."""


def by_series(items: Sequence[S]) -> dict[Series, list[S]]:
    """Return the items by platform and, where a platform has several, by micro batch; in their order."""
    found: dict[Series, list[S]] = {}
    several = micro_batches_vary(items)
    for item in items:
        micro = item.micro_batch_size if item.platform in several else None
        found.setdefault(Series(item.platform, micro), []).append(item)
    return found


def micro_batches_vary(items: Sequence[Sized]) -> set[str]:
    """Return the platforms that have several micro batches."""
    pairs = {(item.platform, item.micro_batch_size) for item in items}
    platforms = [platform for platform, _ in pairs]
    return {platform for platform in platforms if platforms.count(platform) > 1}
