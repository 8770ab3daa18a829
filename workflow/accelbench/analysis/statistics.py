"""Descriptions of samples, and the figures that carry an interval."""

import statistics
from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Description:
    """A sample in figures."""

    n: int
    mean: float
    median: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, or the reason why there is none."""

    value: float
    low: float | None
    high: float | None
    n: int
    why_no_interval: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One value, and what it shares with others: its passage and its round."""

    value: float
    passage: Hashable
    round: Hashable


def describe(values: Iterable[float | None]) -> Description | None:
    """Describe the values that are there; None when there is none. The median of an even n is the usual one."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    return Description(len(there), statistics.fmean(there), statistics.median(there), min(there), max(there))
