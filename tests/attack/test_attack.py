"""Hostile endpoints against load, workflow, page and preflight: bounded, in words, no secret told, no terminal moved.

In at most three minutes, which is why `make test` leaves it out.
"""

import base64
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from accelbench.jobs.process import PACKAGE_PARENT
from tests.inference.endpoint_stand_in import StandIn
from tests.workflow.conftest import Project, clean_environment

from .hostile import ATTACKS, BASIC, KEY, MARKUP, TOKEN, answer, deep_page, no_page, page, tells

pytestmark = pytest.mark.attack

IN_WORKFLOW = [
    "echo-escaped",
    "echo-spread",
    "echo-error",
    "regex-stars",
    "deep",
    "huge-counts",
    "controls",
    "controls-error",
    "drip",
]
"""One of each kind: a job each takes its time."""
LOAD_S, WORKFLOW_S = 30.0, 150.0
ACTS = "\x1b\x07\u202e\u2066\x9b"
SOURCES = {"OWN_TOKEN": TOKEN, "OWN_LOGIN": f"Basic {BASIC}", "OWN_COOKIE": f"a=1; session={KEY}; b=2"}


@pytest.fixture
def environment() -> dict[str, str]:
    kept = {key: value for key, value in clean_environment().items() if not key.lower().endswith("_proxy")}
    return {**kept, **SOURCES, "PYTHONPATH": PACKAGE_PARENT}


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(answer, get=page) as hostile:
        yield hostile


def assert_harmless(said: str, folder: Path) -> None:
    """Check that nothing was told, and that nothing acts on a terminal."""
    assert "Traceback" not in said, said[-3000:]
    assert not set(ACTS) & set(said), [line for line in said.splitlines() if set(ACTS) & set(line)][:3]
    assert tells(said.encode()) == []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(folder / "config"):
            assert tells(path.read_bytes()) == [], path


@pytest.mark.parametrize("attack", ATTACKS)
def test_load_bears_it(attack: str, server: StandIn, environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelbench", "load", "--base-url", server.base_url, "--model", attack]
    command += ["--requests", "2", "--warm-up", "0", "--token-env", "OWN_TOKEN", "--out", "out"]
    command += ["--busy-wait-s", "0", "--wait-s", "1", "--timeout-s", "10"]
    begun_s = time.monotonic()
    for _ in range(2 if "count" in attack or "deep" in attack else 1):  # the second time reads what the first left
        done = subprocess.run(command, env=environment, cwd=tmp_path, text=True, capture_output=True, timeout=LOAD_S)
        assert done.returncode in (0, 1), done.stderr[-3000:]
        assert_harmless(done.stdout + done.stderr, tmp_path)
    assert time.monotonic() - begun_s < LOAD_S


def endpoints(base_url: str, names: Sequence[str]) -> dict[str, dict[str, object]]:
    secrets = {"X-Login": {"env": "OWN_LOGIN"}, "Cookie": {"env": "OWN_COOKIE"}}
    limits = {"ready_timeout_s": 2.0, "busy_wait_s": 0.0, "timeout_read_s": 10.0, "timeout_total_s": 20.0}
    return {
        name: {"model": name, "base_url": base_url, "token": {"env": "OWN_TOKEN"}, "secret_headers": secrets, **limits}
        for name in names
    }


def test_a_workflow_and_its_page_bear_them(server: StandIn, environment: dict[str, str], tmp_path: Path) -> None:
    config = {
        "training": {"run": []},
        "inference": {
            "run": IN_WORKFLOW,
            "baseline": None,
            "endpoints": endpoints(server.base_url, IN_WORKFLOW),
            "scenarios_run": ["short"],
            "prompts": {"questions": {"source": "bundled"}},
            "scenarios": {"short": {"requests": 2, "rounds": 1, "max_tokens": 6, "warm_up": 1}},
        },
    }
    project = Project.copied(tmp_path / "project", config)
    begun_s = time.monotonic()
    done = project.snakemake("--keep-going", env=environment)
    report = done if done.returncode == 0 else project.snakemake("report", env=environment)
    assert time.monotonic() - begun_s < WORKFLOW_S
    assert report.returncode == 0, report.stdout[-3000:]
    assert_harmless(done.stdout + report.stdout, project.root)
    (written, *_) = sorted(project.root.glob("results/**/report.html"))
    assert MARKUP not in written.read_text()


@pytest.mark.parametrize("pages", [page, deep_page, no_page])
def test_preflight_bears_their_pages(pages: object, environment: dict[str, str], tmp_path: Path) -> None:
    with StandIn(answer, get=pages) as server:  # type: ignore[arg-type]
        few = endpoints(server.base_url, ["echo-plain", "controls"])
        tree = {"training": {"run": []}, "inference": {"run": [*few], "baseline": None, "endpoints": few}}
        (tmp_path / "config").mkdir()
        (tmp_path / "config/hostile.yaml").write_text(yaml.safe_dump(tree))
        base = Path(__file__).parents[2] / "config/config.yaml"
        command = [sys.executable, "-m", "accelbench", "preflight", "--base", str(base)]
        command += ["--config", "config/hostile.yaml"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, text=True, capture_output=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    assert_harmless(done.stdout + done.stderr, tmp_path)


def test_what_looks_for_secrets_finds_them() -> None:
    """Or the others would find nothing for the wrong reason."""
    assert tells(f"x {TOKEN.upper()} y".encode()) == [TOKEN]
    assert tells(base64.b64encode(f"ab{KEY}cd".encode())) == [KEY]
    assert tells("".join(f"\\\\u{ord(letter):04X}" for letter in KEY).encode()) == [KEY]
