"""Files that others expect in a project: they are there, agree with each other, and name what exists."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
DOCUMENTS = ("CONTRIBUTING.md", "CHANGELOG.md", "results/README.md", "config/README.md", "README.md", "SECURITY.md")


def test_the_citation_names_the_version_and_the_licence_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_between_documents_leads_to_a_file(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / name).parent.joinpath(link).exists()]
    assert not missing


def test_every_shipped_config_file_is_explained() -> None:
    said = (ROOT / "config/README.md").read_text()
    kept = [path for path in (ROOT / "config").iterdir() if path.name != "README.md"]
    assert [path.name for path in kept if f"`{path.name}" not in said] == []


def test_every_target_for_people_is_in_the_makefiles_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"`make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text())
    assert all(re.search(rf"^{target}:.*##", makefile, re.MULTILINE) for target in named)


def test_a_change_is_checked_on_github_as_here() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["check"]["steps"]
    assert steps[-1]["run"] == ".ci/run" and (ROOT / ".ci/run").stat().st_mode & 0o100
    assert PROJECT["requires-python"] == f">={steps[1]['with']['python-version']}"


def test_the_workflow_catalog_finds_what_it_asks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["report"] is True
    assert (ROOT / "workflow/Snakefile").read_text().endswith('include: "../Snakefile"\n')


def test_every_file_that_the_package_reads_is_packed() -> None:
    """Setuptools packs modules by itself, other files only as listed."""
    package = ROOT / "workflow/accelbench"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["accelbench"]
    listed = {path for each in patterns for path in package.glob(each)}
    there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert listed == there
