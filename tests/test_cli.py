"""The commands: one clear line for a mistake, and nothing heavy before it is needed."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from accelbench import cli
from accelbench.config import Config
from accelbench.jobs.process import PACKAGE_PARENT
from accelbench.plan import specs

HEAVY = ("numpy", "pandas", "scipy", "matplotlib", "datasets", "torch", "transformers", "snakemake", "h5py")
HELP = f"""
import sys
from typer.testing import CliRunner
from accelbench.cli import app
names = [command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands]
for arguments in ([], *([name] for name in names)):
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, (arguments, result.output)
print(len(names), *(name for name in {HEAVY} if name in sys.modules))
"""
CONFIG = {
    "training": {"run": ["cpu"], "platforms": {"cpu": {"backend": "torch"}}, "model": "model.yaml"},
    "inference": {
        "run": ["a"],
        "scenarios_run": ["one"],
        "endpoints": {"a": {"base_url": "http://a/v1", "model": "m"}},
        "scenarios": {"one": {}},
        "prompts": {"questions": {}, "others": {}},
    },
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(yaml.safe_dump(CONFIG))
    Path("model.yaml").write_text("trainer: {init: {}, fit: {train_dataloader: {batch_size: 1}}}")
    Path("file").touch()


def accelbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    command = [sys.executable, "-m", "accelbench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def complaint(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Give what a command ends with, run in this process."""
    monkeypatch.setattr(sys, "argv", ["accelbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return str(ended.value.code)


def test_a_mistake_is_one_line_on_stderr_and_status_1() -> None:
    done = accelbench("needs", "--config", "none.yaml", "--base", "run.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "accelbench: none.yaml: can't be read (No such file or directory).\n"


def test_an_unknown_option_is_status_2() -> None:
    done = accelbench("schema", "--nonsense")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == [str(len(cli.app.registered_commands))]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            "params --platform cpu --size bs1 --out file/params.yaml --config run.yaml",
            "file: File exists. All earlier measurements are kept.",
        ),
        (
            "parse-log none.log",
            "none.log: No such file or directory. All earlier measurements are kept.",
        ),
        (
            "parse-log file",
            "file is not a training log: No line of it looks like a training log. Unpack it first if it is compressed; "
            "convert it if UTF-16.",
        ),
        (
            "params --platform gpu --size bs1 --out p.yaml --config run.yaml",
            "training.platforms has no gpu; it has this-machine, cpu.",
        ),
        (
            "params --platform cpu --size 512 --out p.yaml --config run.yaml",
            "--size is 512; write bs and a batch size, such as bs256 (or bs256-mb64-sl4096).",
        ),
        (
            "train --platform gpu --size bs1 --repeat 1 --spec {} --out m.json --config run.yaml",
            "run.yaml: training.platforms has no gpu; it has cpu.",
        ),
        (
            "train --platform cpu --size bs1 --repeat 1 --spec {} --out m.json --config run.yaml",
            "run.yaml or the prepared data changed after this job was planned. Run the same command again.",
        ),
        (
            "infer --endpoint b --cell one --round 1 --spec {} --prompts p --out m.json --config run.yaml",
            "run.yaml: inference.endpoints has no b; it has a.",
        ),
        (
            "infer --endpoint a --cell two --round 1 --spec {} --prompts p --out m.json --config run.yaml",
            "run.yaml: inference.scenarios_run has no two; it has one.",
        ),
        (
            "prompts --set quiz --out q.jsonl --config run.yaml",
            "run.yaml: inference.prompts has no quiz; it has others, questions.",
        ),
        (
            "prompts --set others --out q.jsonl --config run.yaml",
            "inference.prompts.others: no scenario in inference.scenarios_run uses it.",
        ),
        (
            "parse --out runs.jsonl",
            "results/run_config.yaml is not there. Run `snakemake --cores 4` first, or name your config file.",
        ),
    ],
)
def test_a_mistake_of_the_users_is_one_line(arguments: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(monkeypatch, *arguments.split()) == f"accelbench: {line}"


def test_what_a_config_needs_is_one_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(monkeypatch, "needs", "--base", "run.yaml") == "0"
    assert capsys.readouterr().out == "local\n"


def test_a_job_whose_prompts_are_not_there_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = specs.infer_spec(Config.model_validate(CONFIG), specs.InferRound("a", "one", 1))
    assert '"prompts":"pending"' in spec
    where = ["--endpoint", "a", "--cell", "one", "--round", "1", "--prompts", "file", "--out", "r1/measured.json"]
    said = complaint(monkeypatch, "infer", *where, "--spec", spec, "--config", "run.yaml")
    assert said == (
        "accelbench: the prompts that this job needs are incomplete, so nothing is measured. `snakemake --cores 4 "
        "--forcerun prompts`, with the same config files, prepares them again."
    )
    assert not Path("r1").exists()


def test_what_a_log_says_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text(
        "2025-11-25 15:39:45,243 INFO:   | Train Device=CSX, Step=50, Loss=7.6, Rate=33.0 samples/sec, "
        "GlobalRate=33.0 samples/sec\n"
        "2025-11-25 15:39:46,243 ERROR:   Initiating shutdown sequence due to error: gone\x07 \x9b2J\u202etxt\n"
    )
    command = [sys.executable, "-m", "accelbench", "parse-log", str(tmp_path / "run.log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "gone" in done.stdout
    assert not any(letter in done.stdout + done.stderr for letter in "\x07\x9b\u202e")


def test_the_commands_that_the_workflow_calls_are_listed_apart() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    use, _, called = shown.partition("Called by the workflow")
    assert "│ load " in use and "│ load " not in called
    rules = "".join(path.read_text() for path in Path(PACKAGE_PARENT, "rules").glob("*.smk"))
    for command in set(re.findall(r"accelbench ([a-z-]+) ", rules)) - {"calibrate", "preflight", "report"}:
        assert f"│ {command} " in called and f"│ {command} " not in use


def test_the_version_is_the_installed_ones() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).output == f"accelbench {version('accelbench')}\n"
