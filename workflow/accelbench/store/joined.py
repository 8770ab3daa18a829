"""Records that came with results of another site: Snakemake takes them for up to date, and they may not be.

Joined by rsync, the runs.jsonl of one site replaces the other's and is newer than the runs that it does not list; and
of what was measured elsewhere there is no metadata that would show another spec. So records without metadata are read
once more: they get an input that is newer, a file that stays, and whose time changes only while there are such records.
"""

from base64 import urlsafe_b64encode
from pathlib import Path

from accelbench.store import paths

MARKER = Path(".snakemake/accelbench.store.joined")
METADATA = Path(".snakemake/metadata")


def note_joined() -> None:
    """Have records that were not made in this folder made anew."""
    if any(Path(records).exists() and not is_made_here(records) for records in (paths.RUNS, paths.ROUNDS)):
        MARKER.parent.mkdir(exist_ok=True)
        MARKER.touch()


def joined() -> list[str]:
    """Return the input that makes records stale, if there ever were any of another site."""
    return [str(MARKER)] if MARKER.exists() else []


def is_made_here(path: str) -> bool:
    """Tell whether Snakemake (9.27, persistence/file.py) made a file here."""
    return (METADATA / urlsafe_b64encode(path.encode()).decode()).exists()
