"""The data that a run trains on: whether it is there, how much it is, and a corpus of our own.

Layout (ModelZoo 2.6.0, data/common/h5_map_dataset): .h5 files with a dataset "data", int32, of shape (samples, 3,
sequence length) = input ids, mask (1 counts for the loss), labels (already shifted by one); attribute n_examples. Of
others' data nothing but shapes and attributes is read.

Our own corpus is `pydoc_data.topics` (PSF licence), the help texts in every CPython: nothing to download. One token is
one byte. A fifth of the text stands there twice (the page on compound statements repeats those on if, for, with, …):
each paragraph is kept once, so that no held-out paragraph is trained on. Or it is random tokens.
"""

import hashlib
import io
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accelbench.errors import UserError
from accelbench.foreign import Tree
from accelbench.store.files import write_atomically
from accelbench.store.paths import corpus_folder
from accelbench.store.records import DatasetFacts, JsonObject
from accelbench.training.params.check import missing_folders, section, trainers

if TYPE_CHECKING:
    import numpy as np  # heavy: only where a corpus is written

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


BYTES = 256
CHUNK_SAMPLES = 64
RANDOM_TRAIN, RANDOM_HELD_OUT = 4096, 64
"""Samples of random tokens; with 4,096 tokens each they are 200 MB."""


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """What was written: enough to tell two corpora apart."""

    source: str
    n_train: int
    n_held_out: int
    sequence_length: int
    vocab_size: int
    digest: str
    seed: int | None = None
    """Of random tokens."""


def write_corpora(
    out_dir: Path, *, kind: str, sequence_length: int, sequence_lengths: Sequence[int] = (), **of: int
) -> JsonObject:
    """Write the corpus of a kind, and again in samples of other lengths (`paths.corpus_folder`); return the facts."""
    write = write_random_tokens if kind == "synthetic" else write_corpus
    facts = asdict(write(out_dir, sequence_length=sequence_length, **of))
    lengths = {
        str(n): asdict(write(out_dir / corpus_folder(n).name, sequence_length=n, **of)) for n in sequence_lengths
    }
    return {**facts, "lengths": lengths} if lengths else facts


def write_corpus(
    out_dir: Path, *, sequence_length: int, vocab_size: int, held_out_fraction: float = 0.1
) -> CorpusFacts:
    """Write `out_dir`/train/data-00000.h5 and `out_dir`/val/data-00000.h5; the last part is held out.

    Each sample is `sequence_length` bytes as token ids, in ModelZoo's layout (inputs, mask, labels). Raises UserError
    where a size leaves no sample, or the vocabulary has less than all bytes.
    """
    if vocab_size < BYTES:
        raise UserError(f"vocab_size is {vocab_size}; the corpus is bytes and needs at least {BYTES}.")
    if not 0 < held_out_fraction < 1:
        raise UserError(f"held_out_fraction is {held_out_fraction}; it must be between 0 and 1.")
    paragraphs = unique_paragraphs()
    first_held_out = round(len(paragraphs) * (1 - held_out_fraction))
    train = samples_of("\n\n".join(paragraphs[:first_held_out]), sequence_length)
    held_out = samples_of("\n\n".join(paragraphs[first_held_out:]), sequence_length)
    if not len(train) or not len(held_out):
        raise UserError(
            f"sequence_length is {sequence_length}; the corpus is too short for one sample each to train on "
            "and to hold out. Write a smaller one."
        )
    return _written(
        out_dir,
        train,
        held_out,
        source=f"pydoc_data.topics of Python {platform.python_version()}, each paragraph once",
        vocab_size=vocab_size,
    )


def write_random_tokens(out_dir: Path, *, sequence_length: int, vocab_size: int, seed: int) -> CorpusFacts:
    """Write random tokens instead of a text: they cost the time of any others, and teach nothing."""
    import numpy as np

    drawn = np.random.default_rng(seed)
    samples = [
        drawn.integers(0, vocab_size, (n, 3, sequence_length), np.int32) for n in (RANDOM_TRAIN, RANDOM_HELD_OUT)
    ]
    for part in samples:
        part[:, 1] = 1
    return _written(out_dir, *samples, source=f"random tokens, seed {seed}", vocab_size=vocab_size, seed=seed)


def _written(
    out_dir: Path, train: "np.ndarray", held_out: "np.ndarray", *, source: str, vocab_size: int, seed: int | None = None
) -> CorpusFacts:
    write_atomically(out_dir / "train" / "data-00000.h5", hdf5(train), durable=True)
    write_atomically(out_dir / "val" / "data-00000.h5", hdf5(held_out), durable=True)
    return CorpusFacts(
        source=source,
        n_train=len(train),
        n_held_out=len(held_out),
        sequence_length=train.shape[2],
        vocab_size=vocab_size,
        digest=hashlib.sha256(train.tobytes() + held_out.tobytes()).hexdigest()[:16],
        seed=seed,
    )


def unique_paragraphs() -> list[str]:
    """Return the paragraphs of all topics, sorted by topic, each at its first place only."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))
    return list(dict.fromkeys(paragraph for paragraph in text.split("\n\n") if paragraph.strip()))


def samples_of(text: str, sequence_length: int) -> "np.ndarray":
    """Cut a text into samples side by side; what is left at the end is dropped."""
    import numpy as np

    tokens = np.frombuffer(text.encode(), np.uint8).astype("<i4")
    n_samples = max(0, len(tokens) - 1) // sequence_length
    span = n_samples * sequence_length
    inputs, labels = (part.reshape(n_samples, sequence_length) for part in (tokens[:span], tokens[1 : span + 1]))
    return np.stack([inputs, np.ones_like(inputs), labels], axis=1)


def hdf5(samples: "np.ndarray") -> bytes:
    """Return the HDF5 file that holds the samples: the same bytes for the same samples."""
    import h5py  # only with the extra `local`

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["n_examples"] = len(samples)
        file.create_dataset(
            "data",
            data=samples,
            chunks=(min(CHUNK_SAMPLES, len(samples)), *samples.shape[1:]),
            track_times=False,
        )
    return buffer.getvalue()
