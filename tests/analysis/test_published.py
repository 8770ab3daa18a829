"""Published figures: what follows from the totals, and a file that is wrong."""

from pathlib import Path

import pytest

from accelbench.analysis.published import read_published
from accelbench.errors import UserError

REFERENCE = Path(__file__).parents[2] / "config/reference/llama2_7b_cs3.yaml"


def test_the_published_sweep_with_what_its_totals_give() -> None:
    rows = read_published(REFERENCE).rows
    assert [row.batch_size for row in rows] == [256, 512, 1024, 2048]
    assert [row.overhead_s for row in rows] == pytest.approx([7057, 1073, 1196, 1851], abs=1)
    assert [round(100 * row.overhead_share) for row in rows] == [82, 26, 16, 13]
    assert [round(row.samples_per_total_s, 2) for row in rows] == [5.94, 24.67, 27.70, 29.54]


def test_the_row_that_mostly_did_not_train_stands_out() -> None:
    assert [row.batch_size for row in read_published(REFERENCE).rows if row.stands_out] == [256]


def test_a_wrong_key_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.yaml"
    path.write_text("{source: x, what: y, steps: 200, rows: [{batch_size: 256, total_time_s: 8615}]}")
    with pytest.raises(UserError, match=r"figures.yaml: rows.0.global_rate: Field required"):
        read_published(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        read_published(tmp_path / "gone.yaml")
