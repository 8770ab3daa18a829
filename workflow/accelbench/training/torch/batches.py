"""Batches of token samples from HDF5 files, in ModelZoo's layout and in ModelZoo's order.

Source: ModelZoo 2.6.0, data/common/h5_map_dataset (GptHDF5MapDataProcessor), and cerebras-pytorch 2.6.0,
utils/data/sampler.py: the same seed gives the same batches on a CS-3 and here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import h5py
import numpy as np

from accelbench.errors import UserError
from accelbench.training.torch.settings import Settings, name_of

INPUTS, MASK, LABELS = range(3)
READ_AT_ONCE_BYTES = 2**28
"""Data up to this size is held in memory: reading HDF5 sample by sample would be timed as training."""


@dataclass(frozen=True, slots=True)
class Loader:
    """One dataloader of the params file: its samples and how they are batched."""

    name: str
    datasets: list[np.ndarray | h5py.Dataset]
    vocab_size: int
    batch_size: int
    shuffle: bool
    shuffle_seed: int
    drop_last: bool

    @property
    def n_samples(self) -> int:
        """Samples per epoch."""
        return sum(len(dataset) for dataset in self.datasets)

    @property
    def n_batches(self) -> int:
        """Batches of a first epoch."""
        whole, rest = divmod(self.n_samples, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    @property
    def smallest_batch(self) -> int:
        """Samples of the smallest batch: the last of an epoch, unless drop_last."""
        odd = 0 if self.drop_last else self.n_samples % self.batch_size
        return odd or self.batch_size

    def batches(self, skip: int = 0) -> Iterator[np.ndarray]:
        """Yield batches of shape (samples, 3, tokens) without end, epoch after epoch; the first `skip` go unread."""
        for indices in islice(self._indices(), skip, None):
            yield self._read(indices)

    def _indices(self) -> Iterator[list[int]]:
        """Yield what each batch holds. With drop_last an epoch's odd samples open the next one."""
        odd: list[int] = []
        for epoch in count():
            order = odd + self._order(epoch)
            even = len(order) - len(order) % self.batch_size
            for first in range(0, even, self.batch_size):
                yield order[first : first + self.batch_size]
            odd = order[even:]
            if odd and not self.drop_last:
                yield odd
                odd = []

    def _order(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.n_samples))
        import torch  # only to shuffle as ModelZoo does

        generator = torch.Generator().manual_seed(self.shuffle_seed + epoch)
        return list(torch.randperm(self.n_samples, generator=generator).tolist())

    def _read(self, indices: list[int]) -> np.ndarray:
        batch = np.stack([self._sample(index) for index in indices])
        tokens = batch[:, (INPUTS, LABELS)]
        if tokens.min() < 0 or tokens.max() >= self.vocab_size:
            wrong = tokens.min() if tokens.min() < 0 else tokens.max()
            raise UserError(
                f"{self.name}: the data has the token id {wrong}, the model a vocabulary of "
                f"{self.vocab_size}; set trainer.init.model.vocab_size to that of the data."
            )
        return batch

    def _sample(self, index: int) -> np.ndarray:
        for dataset in self.datasets:
            if index < len(dataset):
                return np.asarray(dataset[index], np.int32)
            index -= len(dataset)
        raise IndexError


def read_loader(section: Settings, *, vocab_size: int, sequence_length: int) -> Loader:
    """Return a dataloader of the params file; its files are opened, and read when small.

    Raises UserError for keys that this backend does not follow, and for data that are not there or too few for a batch.
    """
    section.only("data_processor", "GptHDF5MapDataProcessor", default=None)
    for other_data in ("mixture", "data_subset", "max_sequence_length", "num_samples"):
        section.only(other_data, None, default=None)
    for off in ("use_vsl", "pad_last"):
        section.only(off, False, default=False)
    loader = Loader(
        name=f"{section.file}: {name_of(section.here)}",
        datasets=_open(section, sequence_length),
        vocab_size=vocab_size,
        batch_size=section.integer("batch_size"),
        shuffle=section.flag("shuffle", False),
        shuffle_seed=section.integer("shuffle_seed", 0, at_least=0),
        drop_last=section.flag("drop_last", True),
    )
    if loader.batch_size > loader.n_samples:
        raise UserError(
            f"{loader.name}.batch_size is {loader.batch_size}; its data_dir holds {loader.n_samples} "
            "samples. Write a smaller batch, or prepare more data."
        )
    return loader


def _open(section: Settings, sequence_length: int) -> list[np.ndarray | h5py.Dataset]:
    folders = section.value("data_dir")
    if folders is None:
        raise section.refusal("data_dir", wanted="must name a folder of .h5 files")
    name = f"{section.file}: {name_of(section.here)}.data_dir"
    files: list[Path] = []
    for folder in map(Path, folders if isinstance(folders, list) else [folders]):
        if not folder.is_dir():
            raise UserError(f"{name}: there is no folder {folder}; prepare the data first.")
        found = sorted(folder.glob("*.h5"))
        if not found:
            raise UserError(f"{name}: {folder} holds no .h5 file; prepare the data first.")
        files += found
    return [_dataset(file, name, sequence_length) for file in sorted(files)]


def _dataset(file: Path, name: str, sequence_length: int) -> np.ndarray | h5py.Dataset:
    try:
        dataset = h5py.File(file, "r")["data"]
        if not isinstance(dataset, h5py.Dataset):
            raise KeyError
    except (OSError, KeyError):
        raise UserError(f'{name}: {file} is not an HDF5 file with a dataset "data".') from None
    if dataset.shape[1:] != (3, sequence_length):
        raise UserError(
            f"{name}: {file} has samples of shape {dataset.shape[1:]}, the model's max_position_embeddings "
            f"asks for (3, {sequence_length}); prepare the data again, or change one of the two."
        )
    return dataset[:] if dataset.nbytes <= READ_AT_ONCE_BYTES else dataset
