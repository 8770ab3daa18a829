"""An audit that was not possible is never sold as a sound one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "tools/audit.py"
SOUND = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "new", "skip_reason": "Dependency not found on PyPI"}


def audit(folder: Path, said: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the audit with a program that prints this in pip-audit's place."""
    stand_in = folder / "pip-audit"
    stand_in.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\necho no network >&2\nexit {status}\n")
    stand_in.chmod(0o755)
    command = [sys.executable, str(PROGRAM), str(stand_in), "constraints.txt"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("dependencies", "status", "said"),
    [
        ([SOUND], 0, "pip-audit: 0 of 1 audited packages have known vulnerabilities"),
        ([SOUND, BAD], 1, "bad 2: PYSEC-1, fixed in 2.1\npip-audit: 1 of 2 audited"),
        ([SOUND, UNKNOWN], 0, "not audited, unknown to the database: new\npip-audit: 0 of 1 audited"),
        ([UNKNOWN, UNKNOWN], 0, "pip-audit: SKIPPED, nothing was audited: its database knows none of the 2 versions"),
    ],
)
def test_what_was_found_and_what_could_not_be_audited_is_said(
    dependencies: list[dict[str, Any]], status: int, said: str, tmp_path: Path
) -> None:
    done = audit(tmp_path, json.dumps({"dependencies": dependencies}))
    assert done.returncode == status
    assert done.stdout.startswith(said)


@pytest.mark.parametrize("printed", ["", "{}", "Traceback (most recent call last):"])
def test_a_database_out_of_reach_is_skipped_by_name(printed: str, tmp_path: Path) -> None:
    done = audit(tmp_path, printed, 1)
    assert (done.returncode, done.stdout) == (0, "pip-audit: SKIPPED, nothing was audited: no network\n")


def test_a_pip_audit_that_could_not_be_installed_is_skipped_by_name(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path / "none"), "constraints.txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("pip-audit: SKIPPED, nothing was audited: it is not installed")
