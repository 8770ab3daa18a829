"""What the Snakefile costs before any job: `snakemake` waits for its imports each time, `--dry-run` too."""

import subprocess
import sys
from pathlib import Path

from tests.workflow.conftest import REPOSITORY, SMALL, Project, clean_environment

BARE = 'rule all:\n    output: "there"\n    shell: "touch {output}"\n'
LIGHT = {"accelbench", "orjson", "packaging"}
DRY_RUN = """
import sys
from snakemake.cli import main
try:
    main(["--cores", "1", "--dry-run", "--quiet"])
except SystemExit as end:
    assert not end.code
print("MODULES", *{name.partition(".")[0] for name in sys.modules})
"""
IMPORTS = """
import sys, time
sys.path.insert(0, "workflow")
start_s = time.process_time()
import snakemake.cli, snakemake.api, snakemake.workflow
snakemake_s = time.process_time() - start_s
from accelbench import dag
from accelbench.plan import specs
from accelbench.report.plots import PLOTS
from accelbench.store import paths
from accelbench.store.working_directory import joined, note_joined
print((time.process_time() - start_s - snakemake_s) / snakemake_s)
"""


def said_by(script: str, folder: Path) -> str:
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.splitlines()[-1]


def modules_after_a_dry_run(folder: Path) -> set[str]:
    return set(said_by(DRY_RUN, folder).split()[1:])


def test_a_dry_run_loads_no_library_that_snakemake_does_not_load_itself(tmp_path: Path) -> None:
    """No torch, no matplotlib, no scipy: what jobs need stands in the functions that jobs call."""
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "Snakefile").write_text(BARE)
    project = Project.copied(tmp_path / "project", SMALL)
    ours = modules_after_a_dry_run(project.root) - modules_after_a_dry_run(bare)
    assert "accelbench" in ours
    assert ours - sys.stdlib_module_names <= LIGHT


def test_importing_what_the_snakefile_imports_is_a_small_part_of_importing_snakemake() -> None:
    """A fifth at most, in CPU time (0.08 where it was written: 60 ms of 820 ms): a busy machine slows both alike."""
    assert float(said_by(IMPORTS, REPOSITORY)) < 0.2


def test_the_imports_that_are_timed_are_those_of_the_snakefile() -> None:
    snakefile = (REPOSITORY / "Snakefile").read_text().splitlines()
    ours = [line for line in snakefile if line.startswith("from accelbench")]
    assert {line.replace(" as graph", "") for line in ours} == {
        line for line in IMPORTS.splitlines() if line.startswith("from accelbench")
    }


def test_planning_compiles_no_expression_of_a_training_log() -> None:
    assert said_by("import sys; from accelbench import dag; print('accelbench.training.log.grammar' in sys.modules)",
                   REPOSITORY).strip() == "False"  # fmt: skip
