"""What tests of the report share."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter an empty working directory, in which made-up results may lie."""
    monkeypatch.chdir(tmp_path)
