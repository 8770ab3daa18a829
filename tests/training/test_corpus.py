"""The training corpus: ModelZoo's layout, the same bytes each time, nothing held out that is trained on."""

from pathlib import Path

import pytest

h5py = pytest.importorskip("h5py")
import numpy as np  # noqa: E402

from accelbench.errors import UserError  # noqa: E402
from accelbench.training import dataset  # noqa: E402
from accelbench.training.dataset import CorpusFacts, samples_of, unique_paragraphs, write_corpora, write_corpus  # noqa: E402


def written(folder: Path, sequence_length: int = 128) -> CorpusFacts:
    return write_corpus(folder, sequence_length=sequence_length, vocab_size=512)


def samples(folder: Path, part: str) -> np.ndarray:
    with h5py.File(folder / part / "data-00000.h5") as file:
        return file["data"][:]


def text(part: np.ndarray) -> str:
    return part[:, 0].astype(np.uint8).tobytes().decode(errors="replace")


def test_the_files_have_modelzoos_layout(tmp_path: Path) -> None:
    facts = written(tmp_path)
    for part, n_samples in (("train", facts.n_train), ("val", facts.n_held_out)):
        with h5py.File(tmp_path / part / "data-00000.h5") as file:
            assert file.attrs["n_examples"] == n_samples
            assert file["data"].shape == (n_samples, 3, 128)
            assert file["data"].dtype == np.int32


def test_labels_are_the_inputs_shifted_by_one_and_every_token_counts(tmp_path: Path) -> None:
    written(tmp_path)
    inputs, mask, labels = samples(tmp_path, "train").swapaxes(0, 1)
    assert (labels.ravel()[:-1] == inputs.ravel()[1:]).all()
    assert (mask == 1).all()
    assert inputs.max() < 256


def test_the_same_text_is_cut_into_samples_of_other_lengths_too(tmp_path: Path) -> None:
    made = write_corpora(tmp_path, kind="python_docs", sequence_length=128, sequence_lengths=[64], vocab_size=512)
    assert made["lengths"]["64"]["n_train"] >= 2 * made["n_train"]
    assert samples(tmp_path / "sl64", "train").shape[2] == 64
    assert text(samples(tmp_path / "sl64", "train")).startswith(text(samples(tmp_path, "train")))
    assert "lengths" not in write_corpora(tmp_path, kind="python_docs", sequence_length=128, vocab_size=512)


def test_no_held_out_paragraph_is_trained_on(tmp_path: Path) -> None:
    written(tmp_path)
    trained = set(text(samples(tmp_path, "train")).split("\n\n"))
    held_out = text(samples(tmp_path, "val")).split("\n\n")[:-1]
    assert len(held_out) > 50
    assert trained.isdisjoint(held_out)


def test_a_paragraph_of_several_topics_is_kept_once() -> None:
    paragraphs = unique_paragraphs()
    assert len(paragraphs) == len(set(paragraphs))


def test_a_tenth_is_held_out(tmp_path: Path) -> None:
    facts = written(tmp_path)
    assert 0.05 < facts.n_held_out / (facts.n_train + facts.n_held_out) < 0.2


def test_writing_twice_gives_the_same_bytes_and_digest(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    assert first == second
    for name in ("train/data-00000.h5", "val/data-00000.h5"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_sequence_length_is_another_corpus(tmp_path: Path) -> None:
    assert written(tmp_path / "a", 64).digest != written(tmp_path / "b", 128).digest


def test_no_partial_file_is_left(tmp_path: Path) -> None:
    written(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["data-00000.h5"] * 2


def test_a_text_of_one_token_too_few_gives_no_sample() -> None:
    assert len(samples_of("abcd", 4)) == 0
    assert samples_of("abcde", 4)[0, 2].tolist() == list(b"bcde")


def test_a_vocabulary_below_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vocab_size is 100"):
        write_corpus(tmp_path, sequence_length=128, vocab_size=100)


def test_a_sequence_longer_than_the_held_out_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too short"):
        write_corpus(tmp_path, sequence_length=200_000, vocab_size=512)


def test_random_tokens_are_those_of_their_seed_and_fill_the_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "RANDOM_TRAIN", 8)
    one, again, other = (
        dataset.write_random_tokens(tmp_path / name, sequence_length=16, vocab_size=100, seed=seed)
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert one == again
    assert (one.seed, one.digest != other.digest) == (1, True)
    with h5py.File(tmp_path / "one/train/data-00000.h5") as file:
        data = file["data"][:]
    assert data.shape == (8, 3, 16)
    assert (data[:, 1] == 1).all()
    assert 0 <= data[:, (0, 2)].min() < data[:, (0, 2)].max() < 100
