"""A working directory is made once, with a config that is valid as it stands."""

from pathlib import Path

import pytest

from accelbench.config.configfile import load_config
from accelbench.errors import UserError
from accelbench.store import paths
from accelbench.store.working_directory import make


@pytest.mark.parametrize("name", ["runs", "it's: mine", "№ 1 #2", "{x}"])
def test_the_config_is_valid_whatever_the_folder_is_called(tmp_path: Path, name: str) -> None:
    make(tmp_path / name)
    assert load_config(paths.default_config(), [tmp_path / name / "config.yaml"]).title == name
    assert "$schema=" in (tmp_path / name / "config.yaml").read_text()


def test_a_config_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 2")
    with pytest.raises(UserError, match="already exists"):
        make(tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "seed: 2"


def test_the_installation_is_no_working_directory() -> None:
    with pytest.raises(UserError, match="name another folder"):
        make(paths.INSTALLATION)
