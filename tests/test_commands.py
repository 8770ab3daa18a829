"""Every command line that a message or a document prints can be given as it is printed."""

import ast
import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import typer

from accelbench.cli import app

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = ("README.md", *(str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "docs").glob("*.md"))))
PROGRAMS = ("snakemake", "accelbench", "make")
SHOWN_AS = {
    "paths.snakemake()": "snakemake",
    "snakemake()": "snakemake",
    "how": "--cores 4",
    "target": "results/training/this-machine/bs4/r1/measured.json",
    "data": "prompts",
    "model": "m",
    "weights": "results/weights/m",
}
"""What stands in the place of an expression in a message."""
RULES = {
    "analyse",
    "classify",
    "parse",
    "training",
    "inference",
    "report",
    "preflight",
    "calibrate",
    "train",
    "train_log",
    "infer",
    "infer_on_node",
    "infer_endpoint",
}
PLACEHOLDER = re.compile(r"…|<[^\d>][^>]*>|\[|\b[A-Z]{3,}\b(?!=)")


def in_messages() -> Iterator[str]:
    """Yield what stands between backticks in the texts of the package, its docstrings left out."""
    for path in sorted((REPOSITORY / "workflow/accelbench").rglob("*.py")):
        tree = ast.parse(path.read_text())
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield from ticked("".join(map(shown, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare | inner:
                yield from ticked(node.value)


def shown(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return SHOWN_AS.get(ast.unparse(part.value), "<?>")


def in_documents() -> Iterator[str]:
    """Yield what stands between backticks, or as a line of code, in the documents, and in the comments of configs."""
    for path in (REPOSITORY / name for name in DOCUMENTS):
        text = path.read_text()
        yield from ticked(re.sub(r"(?ms)^```.*?^```|^    .*?$", "", text))
        for line in re.findall(r"(?m)^    (?:\$ )?(.*)$", re.sub(r"\\\n\s*", "", text)):
            yield line.partition(" # ")[0].strip()
    for path in [*(REPOSITORY / "profiles").glob("*/config.yaml"), *(REPOSITORY / "config").glob("*.yaml")]:
        yield from re.findall(r"(?m)^#   (.*)$", path.read_text())


def ticked(text: str) -> list[str]:
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)]


@functools.cache
def printed() -> list[str]:
    return [*in_messages(), *in_documents()]


def commands(program: str) -> list[str]:
    found = {text for text in printed() if text.split()[:1] == [program]}
    return sorted(text for text in found if len(text.split()) > 1 and not PLACEHOLDER.search(text))


def test_commands_are_found_at_all() -> None:
    anew = "snakemake --cores 4 --forcerun results/training/this-machine/bs4/r1/measured.json"
    assert {anew, "snakemake --cores 4 report", "snakemake --cores 4 --forcerun prompts"} <= set(commands("snakemake"))
    assert "accelbench unlock" in commands("accelbench")
    assert "make run CONFIG=config/alcf-cs3.yaml" in commands("make")
    assert all(len(commands(program)) > 5 for program in PROGRAMS)


def snakemake_takes(command: str) -> None:
    """Hold a command to Snakemake's own parser: nothing that is a target may be taken for a config file."""
    from snakemake.cli import parse_args

    with redirect_stdout(StringIO()):
        _, given = parse_args(shlex.split(command)[1:])
    assert given.cores or given.profile or given.jobs, f"{command}: neither cores nor a profile"
    for path in given.configfile or ():
        assert path.suffix == ".yaml", f"{command}: {path}"
        assert path.parts[0] != "config" or path.exists(), f"{command}: {path}"
    for target in [*given.targets, *(given.forcerun or ())]:
        assert target in RULES | {"prompts", "corpus"} or target.startswith("results/"), f"{command}: {target}"


@pytest.mark.parametrize("command", commands("snakemake"))
def test_snakemake_takes_what_is_printed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    snakemake_takes(command)


@pytest.mark.parametrize("command", commands("accelbench"))
def test_accelbench_takes_what_is_printed(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    context = group.make_context("accelbench", [name, *arguments])
    found = group.get_command(context, name)  # type: ignore[attr-defined]
    assert found is not None, f"{command}: no such command"
    if arguments:
        found.make_context(name, arguments, parent=context)  # raises for what it does not take


@pytest.mark.parametrize("command", ["make report CONFIG=config/quick.yaml", "make run CONFIG=config/quick.yaml"])
def test_make_gives_snakemake_what_it_takes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    done = subprocess.run([*shlex.split(command), "--dry-run"], capture_output=True, text=True, check=True)
    [line] = [line for line in done.stdout.splitlines() if line.startswith(".venv/bin/snakemake")]
    assert "--configfile config/quick.yaml" in line
    snakemake_takes(line)


@pytest.mark.parametrize("command", commands("make"))
def test_make_has_the_targets_that_are_printed(command: str) -> None:
    targets = re.findall(r"(?m)^([a-z-]+):", (REPOSITORY / "Makefile").read_text())
    named = [word for word in command.split()[1:] if "=" not in word and word != "make"]
    assert set(named) <= set(targets)
