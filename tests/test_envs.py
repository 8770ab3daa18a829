"""The conda environments and pyproject.toml list the same packages."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = PROJECT["dependencies"]
PINS = [pin.split("==") for pin in (ROOT / "constraints.txt").read_text().split()]


@pytest.mark.parametrize(
    ("name", "expected"), [("core", CORE), ("local", CORE + PROJECT["optional-dependencies"]["local"])]
)
def test_an_environment_lists_the_projects_dependencies(name: str, expected: list[str]) -> None:
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    [packages] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert packages == expected
    assert f"python {PROJECT['requires-python']}" in environment["dependencies"]
    assert environment["name"] == f"accelbench-{name}"


def test_the_lock_of_the_core_has_all_its_packages_as_pinned_and_a_digest_of_each() -> None:
    """And neither PyTorch nor the host of a registry."""
    lock = (ROOT / "requirements-core.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9][a-z0-9.-]*)==([^ ]+) (?:; .*)?\\\n    --hash=sha256:", lock, re.MULTILINE))
    assert len(locked) == len(re.findall("^[a-z0-9]", lock, re.MULTILINE))
    pinned = {canonicalize_name(name): version for name, version in PINS}
    assert {name: pinned.get(name, version) for name, version in locked.items()} == locked, "run `make lock`"
    assert {canonicalize_name(Requirement(each).name) for each in CORE} <= locked.keys(), "run `make lock`"
    assert "torch" not in locked and "://" not in lock and "index" not in lock
