"""How runs, sizes and series are called: the platform's label, then what tells them apart."""

from accelbench.analysis.series import Series
from accelbench.analysis.sweep import Outlier
from accelbench.analysis.training import TrainingRow
from accelbench.records import TrainRunRecord
from accelbench.report.text import Labels


def series_name(series: Series, labels: Labels) -> str:
    """Return "CS-3", or "CS-3, micro batch 64" where the platform has several."""
    return f"{labels.get(series.platform, series.platform)}{_micro(series.micro)}"


def size_name(size: TrainingRow | TrainRunRecord | Outlier, labels: Labels) -> str:
    """Return "CS-3, batch 256", with its micro batch where the config sets one."""
    name = labels.get(size.platform, size.platform)
    return f"{name}, batch {size.batch_size:,}{_micro(size.micro_batch_size)}"


def _micro(micro: int | None) -> str:
    return f", micro batch {micro:,}" if micro else ""
