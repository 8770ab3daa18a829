"""A size's name is formed and read in one place."""

import pytest

from accelbench.store import paths


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ((256, None, None), "bs256"),
        ((256, 64, None), "bs256-mb64"),
        ((256, None, 4096), "bs256-sl4096"),
        ((256, 64, 4096), "bs256-mb64-sl4096"),
    ],
)
def test_the_name_of_a_size_is_read_back(size: tuple[int, int | None, int | None], name: str) -> None:
    batch, micro, length = size
    assert paths.size(*size) == name
    assert paths.parse_size(name) == size
    assert paths.train_run("p", batch, 1, micro, length).parent.name == name
    assert paths.train_run("p", batch, 1, micro).parent == paths.compiled("p", batch, micro).parent


@pytest.mark.parametrize("name", ["256", "bs", "bs256-mb", "bs256-64", "bs-256", "bs256-sl9-mb9"])
def test_another_text_is_no_size(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        paths.parse_size(name)
