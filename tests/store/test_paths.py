"""A size's name is formed and read in one place."""

import pytest

from accelbench.store import paths


@pytest.mark.parametrize(("batch", "micro", "name"), [(256, None, "bs256"), (256, 64, "bs256-mb64")])
def test_the_name_of_a_size_is_read_back(batch: int, micro: int | None, name: str) -> None:
    assert paths.size(batch, micro) == name
    assert paths.parse_size(name) == (batch, micro)
    assert paths.train_run("p", batch, 1, micro).parent == paths.compiled("p", batch, micro).parent


@pytest.mark.parametrize("name", ["256", "bs", "bs256-mb", "bs256-64", "bs-256"])
def test_another_text_is_no_size(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        paths.parse_size(name)
