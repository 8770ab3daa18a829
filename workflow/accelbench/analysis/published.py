"""Published figures of a sweep, shown beside one's own: read, checked, and what follows from them.

They were not measured here. Only what follows from the totals is derived; how the time was spent is unknown.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from accelbench.analysis.sweep import stands_out
from accelbench.config import Model, PositiveInt, Real
from accelbench.config.configfile import read
from accelbench.errors import UserError

Positive = Annotated[Real, Field(gt=0)]


class _Row(Model):
    batch_size: PositiveInt
    rate: Positive | None = None
    global_rate: Positive
    total_time_s: Positive
    final_loss: Real | None = None


class _File(Model):
    source: str = Field(min_length=1)
    what: str = Field(min_length=1)
    steps: PositiveInt
    rows: list[_Row] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One batch size as published, and what follows from its totals."""

    batch_size: int
    rate_samples_per_s: float | None
    global_rate_samples_per_s: float
    total_time_s: float
    samples_seen: int
    samples_per_total_s: float
    overhead_s: float
    """Start-up and everything else that was not training: total - samples / GlobalRate."""
    overhead_share: float
    stands_out: bool
    """Its share is far above the median share of the table."""
    final_loss: float | None


@dataclass(frozen=True, slots=True)
class Published:
    """A published sweep."""

    source: str
    what: str
    steps: int
    rows: list[PublishedRow]


def read_published(path: Path) -> Published:
    """Read a file of published figures. Raises UserError with the key that is wrong."""
    try:
        file = _File.model_validate(read(path))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        key = ".".join(map(str, wrong["loc"])) or "the file"
        raise UserError(
            f"{path}: {key}: {wrong['msg']}. See config/reference/llama2_7b_cs3.yaml for the form."
        ) from None
    shares = [_overhead_s(row, file.steps) / row.total_time_s for row in file.rows]
    median = statistics.median(shares)
    rows = [_derived(row, file.steps, median) for row in file.rows]
    return Published(file.source, file.what, file.steps, rows)


def _overhead_s(row: _Row, steps: int) -> float:
    return row.total_time_s - row.batch_size * steps / row.global_rate


def _derived(row: _Row, steps: int, median_share: float) -> PublishedRow:
    samples, overhead_s = row.batch_size * steps, _overhead_s(row, steps)
    share = overhead_s / row.total_time_s
    return PublishedRow(
        batch_size=row.batch_size,
        rate_samples_per_s=row.rate,
        global_rate_samples_per_s=row.global_rate,
        total_time_s=row.total_time_s,
        samples_seen=samples,
        samples_per_total_s=samples / row.total_time_s,
        overhead_s=overhead_s,
        overhead_share=share,
        stands_out=stands_out(share, median_share),
        final_loss=row.final_loss,
    )
