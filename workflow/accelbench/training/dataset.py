"""The data that a run trains on, as the machine that trains sees it: whether it is there, and how much it is.

Layout (ModelZoo 2.6.0, data/common/h5_map_dataset): .h5 files with a dataset "data" of shape (samples, 3, sequence
length); attribute n_examples. Nothing but shapes and attributes is read.
"""

from collections.abc import Iterator
from pathlib import Path

from accelbench.errors import UserError
from accelbench.foreign_yaml import Tree
from accelbench.store.records import DatasetFacts
from accelbench.training.params.check import missing_folders, section, trainers

PARTS = ("mixture", "data_subset", "num_samples", "max_sequence_length")
"""Keys of a data loader that make of the files something else than they are."""


def require_data(params: Tree, base: str) -> None:
    """Raise UserError, a line per data loader, when data that the run reads is not on this machine."""
    missing = [
        f"{base}: {gone} on this machine, which trains. Prepare the data, or correct the path."
        for key, loader in _read_loaders(params)
        if (gone := missing_folders(loader, key))
    ]
    if missing:
        raise UserError("\n".join(missing))


def data_facts(params: Tree) -> DatasetFacts:
    """Return samples per epoch and tokens per sample of the training data; null, and why, where they can't be said."""
    try:
        n_samples, sequence_length = _counted(_train_loader(params))
    except _UnknownError as why:
        return {"n_samples": None, "sequence_length": None, "why_unknown": str(why)}
    return {"n_samples": n_samples, "sequence_length": sequence_length, "why_unknown": None}


class _UnknownError(Exception):
    """Why the size of the data is not known."""


def _train_loader(params: Tree) -> Tree:
    found = [loader for key, loader in _read_loaders(params) if "train_dataloader" in key]
    if len(found) != 1:
        raise _UnknownError(f"the params file has {len(found)} training data loaders")
    if part := next((key for key in PARTS if found[0].get(key) is not None), None):
        raise _UnknownError(f"the data loader's {part} changes what is read of the files")
    return found[0]


def _counted(loader: Tree) -> tuple[int, int | None]:
    """Return the samples of all files, and the tokens of a sample where all files have the same."""
    try:
        import h5py  # only with the extra `local`
    except ImportError:
        raise _UnknownError("h5py is not installed where it was trained") from None
    files = [file for folder in _folders(loader) for file in sorted(folder.glob("*.h5"))]
    if not files:
        raise _UnknownError("its data_dir holds no .h5 file")
    n_samples, lengths = 0, set()
    for path in files:
        try:
            with h5py.File(path, "r") as file:
                shape = file["data"].shape
                n_samples += int(file.attrs.get("n_examples", shape[0]))
                lengths.add(int(shape[2]) if len(shape) == 3 else None)
        except (OSError, KeyError, AttributeError, ValueError, TypeError):
            raise _UnknownError(f'{path} is not a readable HDF5 file with a dataset "data"') from None
    return n_samples, lengths.pop() if len(lengths) == 1 else None


def _read_loaders(params: Tree) -> Iterator[tuple[str, Tree]]:
    """Yield the data loaders of fit that a run reads: the held-out one only where it is evaluated."""
    for here, trainer in trainers(params):
        fit, loop = section(trainer, "fit"), section(trainer, "init", "loop")
        keys = ["train_dataloader", *(["val_dataloader"] if loop.get("eval_frequency") else [])]
        for key in keys:
            found = fit.get(key)
            for loader in found if isinstance(found, list) else [found]:
                if isinstance(loader, dict):
                    yield f"{here}.fit.{key}", loader


def _folders(loader: Tree) -> list[Path]:
    found = loader.get("data_dir")
    return [Path(folder) for folder in (found if isinstance(found, list) else [found]) if isinstance(folder, str)]
