"""What the machine that trains sees of the data: that it is there, how many samples, how long."""

import sys
from pathlib import Path
from typing import Any

import pytest

from accelbench.errors import UserError
from accelbench.training.dataset import data_facts, require_data


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def params(train: Any, val: Any = None, eval_frequency: Any = None) -> dict[str, Any]:
    fit = {"train_dataloader": train, "val_dataloader": val}
    return {"trainer": {"init": {"loop": {"eval_frequency": eval_frequency}}, "fit": fit}}


def write(path: str, shape: tuple[int, ...], **attributes: int) -> None:
    h5py = pytest.importorskip("h5py")
    Path(path).parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", shape, "i4")
        file.attrs.update(attributes)


def test_data_that_is_not_here_is_an_error_with_its_key() -> None:
    Path("here").mkdir()
    require_data(params({"data_dir": "here"}), "base.yaml")
    with pytest.raises(UserError) as error:
        require_data(params({"data_dir": ["here", "gone"]}), "base.yaml")
    assert str(error.value).startswith("base.yaml: trainer.fit.train_dataloader.data_dir: gone isn't on this machine")


def test_held_out_data_must_be_here_where_it_is_evaluated() -> None:
    Path("here").mkdir()
    require_data(params({"data_dir": "here"}, {"data_dir": "gone"}), "base.yaml")
    with pytest.raises(UserError, match="val_dataloader"):
        require_data(params({"data_dir": "here"}, {"data_dir": "gone"}, eval_frequency=10), "base.yaml")


def test_all_folders_of_a_mixture_that_are_not_there_are_one_line() -> None:
    Path("here").mkdir()
    parts = [{"data_dir": folder, "weight": 1} for folder in ("gone", "here", "lost")]
    with pytest.raises(UserError) as error:
        require_data(params({"mixture": parts}), "base.yaml")
    assert str(error.value) == (
        "base.yaml: trainer.fit.train_dataloader.mixture: gone, lost aren't on this machine, which trains. "
        "Prepare the data, or correct the path."
    )


def test_samples_and_length_come_from_the_files() -> None:
    write("a/1.h5", (5, 3, 16))
    write("b/1.h5", (8, 3, 16), n_examples=7)
    found = data_facts(params({"data_dir": ["a", "b"]}))
    assert found == {"n_samples": 12, "sequence_length": 16, "why_unknown": None}


def test_files_of_several_lengths_have_no_common_one() -> None:
    write("a/1.h5", (5, 3, 16))
    write("a/2.h5", (5, 3, 32))
    found = data_facts(params({"data_dir": "a"}))
    assert (found["n_samples"], found["sequence_length"]) == (10, None)


@pytest.mark.parametrize(
    ("train", "why"),
    [
        ({"data_dir": "empty"}, "its data_dir holds no .h5 file"),
        ({"data_dir": "broken"}, 'broken/1.h5 is not a readable HDF5 file with a dataset "data"'),
        ({"data_dir": "empty", "num_samples": 9}, "the data loader's num_samples changes what is read of the files"),
        ([{"data_dir": "empty"}, {"data_dir": "broken"}], "the params file has 2 training data loaders"),
    ],
)
def test_where_the_size_is_not_known_the_reason_is(train: Any, why: str) -> None:
    pytest.importorskip("h5py")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/1.h5").write_text("no HDF5")
    assert data_facts(params(train)) == {"n_samples": None, "sequence_length": None, "why_unknown": why}


def test_without_h5py_the_size_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    Path("a").mkdir()
    assert data_facts(params({"data_dir": "a"}))["why_unknown"] == "h5py is not installed where it was trained"
