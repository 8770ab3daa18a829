"""What is read beside a run's log: the model of its params file."""

from pathlib import Path

import pytest

from accelbench.training.runs import model_of


def test_the_model_of_a_params_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("trainer: {init: {model: {name: llama, hidden_size: 8}}}")
    assert model_of(path) == {"name": "llama", "hidden_size": 8}


@pytest.mark.parametrize("text", ["", "trainer: []", "trainer: {init: {}}", "trainer: {init: {model: 7}}", "{", "\x00"])
def test_a_params_file_that_says_no_model_gives_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert model_of(path) is None


def test_a_params_file_that_is_gone_gives_none(tmp_path: Path) -> None:
    assert model_of(tmp_path / "params.yaml") is None
