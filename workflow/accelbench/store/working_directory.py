"""The folder that a Snakemake works in: made, owned, locked, joined from several sites.

Several folders can share one installation, each with its own config and results.

Snakemake's own lock survives a `kill -9` and names no owner. So each Snakemake also holds this one, which the kernel
frees when the process dies. The file names the host of those that hold it: elsewhere a lock may not be seen.

Joined by rsync, the runs.jsonl of one site replaces the other's and is newer than the runs that it does not list; and
measurements from elsewhere have no metadata that would show another spec. So records without metadata are rebuilt: they
get a newer input, a permanent file whose time changes only while there are such records.
"""

import fcntl
import shlex
import shutil
import socket
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import IO

from accelbench.errors import UserError
from accelbench.store import paths

OWNER_FILE = Path(".snakemake/accelbench.owner")
LOCKS = Path(".snakemake/locks")
_held: list[IO[str]] = []


def take_folder() -> bool:
    """Lock the folder until this process ends, and tell whether it is alone there.

    The first on a host clears what a killed Snakemake of the same host left locked. Nothing is cleared while another
    works here, or if the lock is another host's: Snakemake itself then reports that the folder is locked.
    """
    stream, alone = _opened()
    _held.append(stream)
    owner = _owner(stream)
    if not alone:
        _say(f"another Snakemake is running in this folder, on {owner}.")
    elif _is_locked() and owner != socket.gethostname():
        _say(
            f"this folder is locked by a Snakemake on {owner or 'an unknown host'}. If it is no longer running "
            "there, `accelbench unlock` removes the lock."
        )
        alone = False
    else:
        _write_host(stream)
        if _clear():
            _say("the Snakemake that ran in this folder was killed; its lock is removed.")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return alone


def free_folder() -> None:
    """Remove what a killed Snakemake of any host left locked. Raises UserError while one of this host works here."""
    stream, alone = _opened()
    with stream:
        if not alone:
            raise UserError("a Snakemake is running in this folder; wait until it ends, or stop it first.")
        _clear()
        _write_host(stream)


def _opened() -> tuple[IO[str], bool]:
    """Return the lock's file, and whether nobody on this host held it; if so, it is held now."""
    OWNER_FILE.parent.mkdir(exist_ok=True)
    stream = OWNER_FILE.open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return stream, False
    return stream, True


def _owner(stream: IO[str]) -> str:
    """Return the host whose Snakemake last locked the folder; empty if none did."""
    stream.seek(0)
    return stream.read().strip()


def _write_host(stream: IO[str]) -> None:
    stream.truncate(0)
    stream.write(socket.gethostname())
    stream.flush()


def _is_locked() -> bool:
    return LOCKS.is_dir() and any(LOCKS.iterdir())


def _clear() -> bool:
    """Remove Snakemake's locks, and tell whether there were any."""
    locked = _is_locked()
    shutil.rmtree(LOCKS, ignore_errors=True)
    return locked


def _say(text: str) -> None:
    print(f"accelbench: {text}", file=sys.stderr, flush=True)


MARKER = Path(".snakemake/accelbench.store.working_directory")
METADATA = Path(".snakemake/metadata")


def note_joined() -> None:
    """Make Snakemake rebuild records that were not made in this folder."""
    if any(Path(records).exists() and not is_made_here(records) for records in (paths.RUNS, paths.ROUNDS)):
        MARKER.parent.mkdir(exist_ok=True)
        MARKER.touch()


def joined() -> list[str]:
    """Return the input that makes records stale, if there ever were any of another site."""
    return [str(MARKER)] if MARKER.exists() else []


def is_made_here(path: str) -> bool:
    """Tell whether Snakemake (9.27, persistence/file.py) made a file here."""
    return (METADATA / urlsafe_b64encode(path.encode()).decode()).exists()


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
