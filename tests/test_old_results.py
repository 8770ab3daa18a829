"""Results of an earlier version stay valid: nothing is measured again, and figures that kept their meaning agree.

`data/results-2026-11` was made by commit ec10dd7: two batch sizes and two local servers, a refused request among them.
"""

import csv
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from accelbench.cli import app
from accelbench.config.configfile import load_config, read
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURING_RULES, check, restore
from accelbench.store import paths
from accelbench.store.files import read_json, read_jsonl
from tests.workflow.conftest import SNAKEMAKE, clean_environment, jobs

ROOT = Path(__file__).parents[1]
OLD = ROOT / "tests/data/results-2026-11"
KEYS = {
    "training": ("platform", "batch_size"),
    "inference": ("endpoint", "cell"),
    "requests": ("endpoint", "cell", "round", "key", "attempt"),
}

PREPARED_S, MEASURED_S = 1_795_829_600, 1_795_829_700
PREPARING_RULES = ("corpus", "params", "prompts", "weights")

Rows = dict[tuple[str, ...], dict[str, str]]


def copied(to: Path) -> Path:
    """Copy the old folder. What was measured is younger than what was prepared, as it was."""
    shutil.copytree(OLD, to)
    for file in to.rglob("*"):
        touch(file, MEASURED_S if file.name == "measured.json" else PREPARED_S)
    return to


def touch(file: Path, when_s: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.utime(file, (when_s, when_s))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter a copy of the old folder."""
    monkeypatch.chdir(copied(tmp_path / "folder"))


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old results with all that today's code derives from them."""
    folder = copied(tmp_path_factory.mktemp("old") / "folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (["parse", "--out", paths.RUNS], ["classify", "--out", paths.ROUNDS], ["analyse"], ["tables"]):
            done = CliRunner().invoke(app, command)
            assert done.exit_code == 0, done.output or done.exception
    return folder / "results"


def planned(config_file: str) -> dict[Path, str]:
    """Return the folder and the spec of each job that a config plans."""
    config = load_config(Path(config_file))
    runs = {run.folder: specs.train_spec(config, run) for run in specs.train_runs(config)}
    rounds = {
        paths.infer_round(i.endpoint, i.cell, i.round): specs.infer_spec(config, i) for i in specs.infer_rounds(config)
    }
    return runs | rounds


@pytest.mark.parametrize("config_file", ["config.yaml", "results/run_config.yaml"])
@pytest.mark.usefixtures("folder")
def test_every_old_measurement_is_one_that_the_old_config_plans(config_file: str) -> None:
    specs_now = planned(config_file)
    assert {path / "measured.json" for path in specs_now} == set(Path("results").rglob("measured.json"))
    for path, spec in specs_now.items():
        assert check(path, spec)["spec_digest"] == specs.digest(spec)


@pytest.mark.usefixtures("folder")
def test_an_old_archive_gives_its_measurements_back() -> None:
    paths.ARCHIVE.mkdir()
    for path, spec in planned("config.yaml").items():
        path.rename(paths.ARCHIVE / read_json(path / "measured.json")["spec_digest"])
        assert restore(path, spec)
        assert check(path, spec)["restored_at"]


def test_every_old_attempt_is_classified(derived: Path) -> None:
    records = [*read_jsonl(derived / "inference/rounds.jsonl"), *read_jsonl(derived / "training/runs.jsonl")]
    assert {record["state"] for record in records} == {"measured"}
    for raw in derived.rglob("exchanges.jsonl"):
        attempts = [line for line in read_jsonl(raw) if "key" in line]
        assert [r["key"] for r in read_jsonl(raw.with_name("requests.jsonl"))] == [a["key"] for a in attempts]


@pytest.mark.parametrize("table", KEYS)
def test_figures_that_kept_their_meaning_agree(derived: Path, table: str) -> None:
    then, now = rows(OLD / "results/tables", table), rows(derived / "tables", table)
    assert then.keys() == now.keys()
    changes = changed_columns(table)
    differences = [
        f"{' '.join(key)}: {column} was {value!r}, {new} is {now[key].get(new)!r}"
        for key, row in then.items()
        for column, value in row.items()
        if (new := name_now(column, changes)) and not same(value, now[key].get(new))
    ]
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("table", KEYS)
def test_the_changed_columns_are_columns_that_there_were(table: str) -> None:
    then = rows(OLD / "results/tables", table)
    columns = next(iter(then.values()))
    unknown = [old.pattern for old in changed_columns(table) if not any(map(old.fullmatch, columns))]
    assert not unknown


@pytest.mark.workflow
@pytest.mark.usefixtures("folder")
def test_snakemake_measures_again_only_what_an_edit_changes() -> None:
    shutil.copytree("snakemake-metadata", ".snakemake/metadata")
    for part in ("train", "val"):
        touch(Path(f"results/corpus/{part}/data-00000.h5"), PREPARED_S)
    touch(Path("results/weights/SmolLM2-135M-Instruct/config.json"), PREPARED_S)
    edited = read(Path("config.yaml"))
    edited["training"]["sizes"] = {4: {"log_steps": 1}}
    edited["inference"]["scenarios"]["together"]["max_tokens"] = 5
    Path("config.yaml").write_text(yaml.safe_dump(edited))
    done = subprocess.run(
        [SNAKEMAKE, "-s", ROOT / "Snakefile", "--profile", ROOT / "profiles/default", "--dry-run", "--printshellcmds"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = {job for job in jobs(done.stdout) if job.split()[0] in (*PREPARING_RULES, *MEASURING_RULES)}
    assert again == {
        *(f"{rule} cpu/bs4/{repeat}" for rule in ("params", "train") for repeat in (1, 2)),
        *(f"infer {endpoint}/together-c2/{number}" for endpoint in ("llama", "torch") for number in (1, 2, 3)),
    }


# --- tables, then and now -----------------------------------------------------------------------------------------


def rows(tables: Path, table: str) -> Rows:
    with (tables / f"{table}.csv").open(newline="") as stream:
        return {tuple(row[key] for key in KEYS[table]): row for row in csv.DictReader(stream)}


def changed_columns(table: str) -> dict[re.Pattern[str], str | None]:
    """Return what docs/changes.md says of a table's columns: the old name and the new one, None for another meaning."""
    text = (ROOT / "docs/changes.md").read_text()
    sections = re.findall(rf"^### {table}\.csv\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line for section in sections for line in re.findall(r"^\| `(.+?)` \| (.+?) \|", section, re.MULTILINE)]
    renamed = {old: re.fullmatch("`([^`]+)`", now) for old, now in lines}
    return {re.compile(re.escape(old).replace(r"\*", "(.*)")): new and new[1] for old, new in renamed.items()}


def name_now(column: str, changes: dict[re.Pattern[str], str | None]) -> str | None:
    """Return the name under which a column's figures stand now, None if they stand nowhere."""
    for old, new in changes.items():
        if match := old.fullmatch(column):
            return new and match.expand(new.replace("*", r"\1"))
    return column


def same(then: str, now: str | None) -> bool:
    """Tell whether two cells hold the same text, or the same figure but for rounding."""
    try:
        return math.isclose(float(then), float(now or ""), rel_tol=1e-9)
    except ValueError:
        return then == now
