"""A copy of the project in which the real DAG has run once, on a small config, with both real servers."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
SMALL: dict[str, Any] = {
    "training": {"batch_sizes": [2, 4], "max_steps": 4, "log_steps": 1, "repeats": 1},
    "inference": {
        "scenarios_run": ["short"],
        "prompts": {"questions": {"source": "bundled"}},
        "scenarios": {"short": {"requests": 2, "rounds": 1, "max_tokens": 6, "warm_up": 1}},
    },
}


class Project:
    """A copy of the project with a config of its own, and Snakemake in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def copied(cls, root: Path, config: dict[str, Any]) -> "Project":
        root.mkdir(parents=True)
        for name in ("Snakefile", "workflow", "config", "profiles", "envs"):
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, root / name)
        project = cls(root)
        project.write(config)
        return project

    def twin(self, root: Path) -> "Project":
        """Copy the project with its results, times included."""
        shutil.copytree(self.root, root, symlinks=True, copy_function=_copy_or_link)
        return Project(root)

    @property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load((self.root / "config/small.yaml").read_text())

    def write(self, config: dict[str, Any]) -> None:
        config = {"measurement": {"when_busy": "label"}, **config}  # PBS's jobs are told nothing of the environment
        (self.root / "config/small.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        config = self.config
        change(config)
        self.write(config)

    def command(self, *arguments: str, config: str | None = "config/small.yaml") -> list[str]:
        files = ["--configfile", *config.split()] if config else []
        return [str(SNAKEMAKE), "--cores", "4", "--printshellcmds", *arguments, *files]  # with Snakemake's own log

    def snakemake(
        self, *arguments: str, config: str | None = "config/small.yaml", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, config=config),
            cwd=self.root,
            env={**clean_environment(), **(env or {})},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        done = self.snakemake(*arguments, env=env)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, config: str | None = "config/small.yaml") -> set[str]:
        """Return what a dry run would do: "rule" or "rule first/second/…" by the wildcards in its output path."""
        done = self.snakemake("--dry-run", config=config)
        assert done.returncode == 0, done.stdout[-6000:]
        return jobs(done.stdout)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()


def _copy_or_link(source: str, target: str) -> None:
    """Copy a file, times included; link a large one (weights), which no test edits."""
    if Path(source).stat().st_size > 2**20:
        Path(target).hardlink_to(source)
    else:
        shutil.copy2(source, target)


def jobs(output: str) -> set[str]:
    """Return the jobs that Snakemake lists, named by rule and wildcards; `all` left out."""
    found = set()
    for block in re.split(r"\n(?=(?:local)?(?:rule|checkpoint) )", output):
        head = re.match(r"(?:local)?(?:rule|checkpoint) (\w+):", block)
        if head and head[1] != "all":
            wildcards = re.search(r"wildcards: (.*)", block)
            values = "/".join(item.split("=")[1] for item in wildcards[1].split(", ")) if wildcards else ""
            found.add(f"{head[1]} {values}".strip())
    return found


def processes_of(root: Path) -> list[psutil.Process]:
    """Return all live processes that work in a folder or were started with its path."""
    found = []
    for process in psutil.process_iter():
        try:
            here = str(root) in process.cwd() or any(str(root) in word for word in process.cmdline())
            if here and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def started(project: Project, *targets: str) -> subprocess.Popen[bytes]:
    """Start the workflow, to be killed."""
    return subprocess.Popen(
        project.command(*targets),
        cwd=project.root,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )


def clean_environment() -> dict[str, str]:
    """Return this environment without what another workflow's jobs are told."""
    told = ("ACCELBENCH", "ACCELBENCH_WORKFLOW_PID", "PYTHONPATH")
    return {key: value for key, value in os.environ.items() if key not in told}


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small config, measured once by the first worker that needs it. Tests work on twins of it."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    root = shared / "measured"
    with (shared / "measured.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "results/report.html").exists():
            shutil.rmtree(root, ignore_errors=True)
            Project.copied(root, SMALL).run()
    return Project(root)


@pytest.fixture
def project(measured: Project, tmp_path: Path) -> Project:
    """A twin of the measured project, to be edited."""
    return measured.twin(tmp_path / "twin")
