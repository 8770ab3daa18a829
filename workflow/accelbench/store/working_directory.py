"""A working directory of its own, with its own config and results: several can share one installation."""

import shlex
from pathlib import Path

from accelbench.errors import UserError
from accelbench.store import paths

CONFIG = """\
# What differs from the default, {default}; docs/config.md there explains every key.
# Paths are relative to this folder, or to the installation (config/models/llama_small.yaml).
# yaml-language-server: $schema={schema}
title: {title}
"""
README = """\
# {title}

Run, from anywhere, in the environment that accelbench is installed in; edit config.yaml first:

    {command} --cores 4

What a run would do: `{command} --cores 4 -n`. What is there by now: `{command} --cores 4 report`.
On a cluster: `--profile {profile}` (PBS Pro) or `--profile {slurm}` (Slurm) in place of `--cores 4`.
The report is results/report.html.
"""


def make(directory: Path) -> str:
    """Write config.yaml and README.md, and return the command that runs the workflow there.

    Raises UserError if there is a config already, or if the folder is the installation itself.
    """
    directory = directory.expanduser().absolute()
    config = directory / paths.OWN_CONFIG
    if directory.resolve() == paths.INSTALLATION.resolve():
        raise UserError(f"{directory} is where accelbench is installed; name another folder.")
    if config.exists():
        raise UserError(f"{config} already exists; name another folder.")
    directory.mkdir(parents=True, exist_ok=True)
    home = paths.INSTALLATION
    command = shlex.join(["snakemake", "-s", str(home / "Snakefile"), "--directory", str(directory)])
    title = directory.name
    told = {"default": home / paths.DEFAULT_CONFIG, "schema": home / "config/schema.json", "title": _quoted(title)}
    config.write_text(CONFIG.format(**told))
    profiles = {name: shlex.quote(str(home / "profiles" / name)) for name in ("alcf-pbs", "slurm")}
    text = README.format(title=title, command=command, profile=profiles["alcf-pbs"], slurm=profiles["slurm"])
    (directory / "README.md").write_text(text)
    return f"{command} --cores 4"


def _quoted(title: str) -> str:
    """Return a title as YAML takes it, whatever the folder is called."""
    return "'" + title.replace("'", "''") + "'"
