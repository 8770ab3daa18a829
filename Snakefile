"""
accelbench: sweep training batch sizes, benchmark LLM endpoints, compare.

in    config/config.yaml, config.yaml of another working directory, and the files given by --configfile
out   results/tables/*, results/plots/*, results/report.html
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")
HERE = Path(str(workflow.current_basedir))
sys.path.insert(0, str(HERE / "workflow"))

from accelbench import dag as graph
from accelbench.plan import specs
from accelbench.report.plots import PLOTS
from accelbench.store import paths
from accelbench.store.working_directory import joined, note_joined


report: "workflow/report/workflow.rst"


CONFIG = graph.checked_config(workflow, config)
graph.prepare_environment(HERE)
if graph.is_run(workflow):
    graph.begin(CONFIG)
dag = graph.Dag(CONFIG)
workflow.global_resources["measure"] = 1
workflow.global_resources["csx"] = 1
workflow.global_resources["compile"] = 1


note_joined()


wildcard_constraints:
    **dag.wildcards,


onerror:
    if set(workflow.dag_settings.targets) != {"preflight"}:
        # How much is done, and where; each failure was told with its reason when it happened.
        shell("python -m accelbench report | sed -n 1p || true")


include: "workflow/rules/training.smk"
include: "workflow/rules/inference.smk"
include: "workflow/rules/calibration.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/preflight.smk"


rule all:
    """Everything: measure what is missing or stale, then tables, plots and the report."""
    default_target: True
    input:
        rules.tables.output,
        rules.page.output,


rule training:
    """The training half: all runs, parsed."""
    input:
        rules.parse.output,


rule inference:
    """The inference half: all rounds, classified."""
    input:
        rules.classify.output,
