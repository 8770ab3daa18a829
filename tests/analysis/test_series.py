"""A platform is one series, or one per micro batch where it has several."""

from accelbench.analysis.training import Series, by_series
from accelbench.store.records import TrainRunRecord


def run(platform: str, batch_size: int, micro: int | None) -> TrainRunRecord:
    return TrainRunRecord(platform, batch_size, 1, "measured", None, micro_batch_size=micro)


def test_one_micro_batch_is_one_series_without_a_name_for_it() -> None:
    runs = [run("a", 4, 2), run("a", 8, 2), run("b", 4, None)]
    assert by_series(runs) == {Series("a", None): runs[:2], Series("b", None): runs[2:]}


def test_several_micro_batches_are_a_series_each() -> None:
    runs = [run("a", 4, 2), run("a", 4, 4), run("a", 8, 2), run("b", 4, 2)]
    assert by_series(runs) == {
        Series("a", 2): [runs[0], runs[2]], Series("a", 4): [runs[1]], Series("b", None): [runs[3]],
    }  # fmt: skip
