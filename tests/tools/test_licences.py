"""The listing of licences is of what is pinned, and says a licence of each."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM, LISTING = ROOT / "tools/licences.py", ROOT / "docs/licences.md"
WEIGHTS = next(re.finditer(r"^WEIGHTS := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))[1]


def rows() -> dict[str, str]:
    """Return name==version -> licence, as listed."""
    found = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", LISTING.read_text(), re.MULTILINE)
    return {f"{name}=={version}": licence for name, version, licence in found if name != "package"}


def test_the_listing_is_of_what_is_pinned() -> None:
    pinned = {*(ROOT / "constraints.txt").read_text().split(), WEIGHTS}
    assert rows().keys() == pinned, "run `make licences`"


def test_each_dependency_states_its_licence_and_none_forbids_use_at_a_university() -> None:
    for pin, licence in rows().items():
        assert re.search("MIT|BSD|Apache|MPL|PSF|Python|ISC|HPND|Public Domain|Unlicense", licence), (pin, licence)
        assert not re.search("non-?commercial|proprietary|AGPL|SSPL|-NC-", licence, re.IGNORECASE), (pin, licence)


@pytest.mark.local
def test_the_listing_is_what_the_program_writes() -> None:
    command = [sys.executable, str(PROGRAM), "constraints.txt", WEIGHTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(done.stderr)
    assert done.stdout == LISTING.read_text()


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "no-such-package==1.0", "pytest==0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no-such-package==1.0, pytest==0.1: not installed here in this version.")
