"""Working directories of their own over one installation, by `accelbench init` and as a Snakemake module."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .conftest import REPOSITORY, clean_environment

pytestmark = pytest.mark.workflow

START = "Starting train loop 1 of 1, from global step 1 to 2 (2 steps)"
STEPS = [f"| Train Device=CSX, Step={n}, Loss=8.{n}, Rate=4.0 samples/sec, GlobalRate=4.0 samples/sec" for n in (1, 2)]
DONE = ["Training completed successfully!", "Processed 8 training sample(s) in 3.5 seconds."]
TRAINING = {
    "run": ["old"],
    "platforms": {"old": {"backend": "log", "logs": "logs/{batch}.log"}},
    "batch_sizes": [4],
    "repeats": 1,
    "reference": "config/reference/llama2_7b_cs3.yaml",  # the installation's
}
SNAKEFILE = """\
configfile: "config/config.yaml"

module bench:
    snakefile: "{installation}/workflow/Snakefile"
    config: config

use rule * from bench as bench_*

rule everything:
    default_target: True
    input: rules.bench_page.output
"""


def bring_log(folder: Path) -> None:
    (folder / "logs").mkdir()
    lines = [f"2025-11-25 15:39:{n:02},243 INFO:   {text}\n" for n, text in enumerate([START, *STEPS, *DONE])]
    (folder / "logs/4.log").write_text("".join(lines))


def said_by(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**clean_environment(), "PATH": path}, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_directories_of_one_installation_share_what_they_ask_for(tmp_path: Path) -> None:
    """The second takes the first's measurement from the shared archive; each has a report of its own."""
    config = {"training": TRAINING, "inference": {"run": []}, "archive_dir": str(tmp_path / "archive")}

    made = tmp_path / "it's mine"
    init = f"{shlex.quote(sys.executable)} -m accelbench init {shlex.quote(str(made))}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow")}
    subprocess.run(init, shell=True, env=environment, check=True, stdout=subprocess.DEVNULL)
    with (made / "config.yaml").open("a") as stream:
        yaml.safe_dump(config, stream)
    bring_log(made)
    [run] = re.findall(r"(?m)^    (snakemake .*)$", (made / "README.md").read_text())
    said_by(run, tmp_path)
    assert "it&#39;s mine" in (made / "results/report.html").read_text()
    for command in re.findall(r"`(snakemake .*?)`", (made / "README.md").read_text()):
        said_by(command, tmp_path)

    other = tmp_path / "other"
    (other / "config").mkdir(parents=True)
    (other / "config/config.yaml").write_text(yaml.safe_dump({**config, "title": "As a module"}))
    (other / "Snakefile").write_text(SNAKEFILE.format(installation=REPOSITORY))
    bring_log(other)
    said_by("snakemake --cores 2", other)
    assert "restored from results/archive" in (other / "results/training/old/bs4/r1/job.log").read_text()
    assert "As a module" in (other / "results/report.html").read_text()
    assert (other / "results/run_config.yaml").exists()
    assert "it&#39;s mine" in (made / "results/report.html").read_text()
    assert not (REPOSITORY / "results/training/old").exists()
