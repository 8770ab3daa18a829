"""The conda environments and pyproject.toml list the same packages."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = PROJECT["dependencies"]


@pytest.mark.parametrize(
    ("name", "expected"), [("core", CORE), ("local", CORE + PROJECT["optional-dependencies"]["local"])]
)
def test_an_environment_lists_the_projects_dependencies(name: str, expected: list[str]) -> None:
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    [packages] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert packages == expected
    assert f"python {PROJECT['requires-python']}" in environment["dependencies"]
    assert environment["name"] == f"accelbench-{name}"
