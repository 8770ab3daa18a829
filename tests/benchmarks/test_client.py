"""The client's benchmark runs and prints its table; what it measures, nobody checks here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_it_reports_both_clients_and_the_start_up() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/client.py"), "--quick"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^\d{4}-\d\d-\d\d .* cores, Python .* load average", printed)
    for client in ("accelbench", "threads"):
        assert re.search(rf"^\| {client} +\| 4 +\| 8 +\| -?[\d.]+ % +\| – ", printed, re.MULTILINE)
    assert re.search(r"first request written after [\d.]+ s \(n = 1; goal 1.5\)", printed)
