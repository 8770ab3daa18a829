"""The Python that runs the workflow, and the packages that the plan needs."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from accelbench import specs
from accelbench.config import Config
from accelbench.preflight.finding import Finding, fails, ok, warning


def machine(config: Config) -> Iterator[Finding]:
    """Yield what the interpreter and its packages are."""
    yield _python()
    yield _packages("local" if specs.needs_local(config) else "core")


def wrong_packages(environment: str) -> list[str]:
    """Return the packages of an environment (core or local) that are missing, or have another version than is asked.

    Raises PackageNotFoundError where accelbench itself is not installed.
    """
    found = []
    for requirement in map(Requirement, requires("accelbench") or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": environment}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            found.append(f"{requirement} is not installed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            found.append(f"{requirement} is asked for, {installed} is installed")
    return found


def _python() -> Finding:
    text = f"Python {platform.python_version()}, snakemake {version('snakemake')}, {sys.prefix}"
    if sys.prefix == sys.base_prefix:
        return warning("Python", f"{text}: no virtual environment", "Run `make setup`, then `. .venv/bin/activate`.")
    return ok("Python", text)


def _packages(environment: str) -> Finding:
    what = f"packages ({environment})"
    command = f"pip install --editable {'.' if environment == 'core' else '.[local]'}"
    try:
        wrong = wrong_packages(environment)
    except PackageNotFoundError:
        return warning(what, "accelbench is not installed here, so nothing says what it needs", f"Run `{command}`.")
    if wrong:
        return fails(what, "; ".join(wrong), f"Run `{command}`.")
    return ok(what, "all there, in the versions that are asked for")
