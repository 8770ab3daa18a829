"""
Analysis: from records to tables, plots and the report. Runs in seconds, and again when its code changes.

in    results/training/runs.jsonl, results/inference/rounds.jsonl and requests.parquet, results of searches
out   results/analysis.json, tables/*, plots/*, report.html, provenance.json, history.jsonl (appended)
"""


localrules:
    analyse,
    tables,
    plots,
    page,
    report,


HALVES = ["training", "inference"]


rule analyse:
    """All figures, comparisons and verdicts, computed once."""
    input:
        rules.parse.output,
        rules.classify.output,
        dag.search_results,
    output:
        f"{paths.RESULTS}/analysis.json",
    log:
        f"{paths.LOGS}/analyse.log",
    conda:
        "../../envs/core.yaml"
    params:
        spec=dag.analysis_spec("report/summary.py"),
    shell:
        "python -m accelbench analyse > {log:q} 2>&1"


rule tables:
    """Comparison tables as CSV, Markdown and LaTeX; and all single requests."""
    input:
        rules.analyse.output,
        rules.classify.output,
    output:
        report(
            expand(f"{paths.RESULTS}/tables/{{half}}.csv", half=HALVES),
            caption="../report/tables.rst",
            category="Tables",
        ),
        expand(
            f"{paths.RESULTS}/tables/{{half}}.{{kind}}",
            half=HALVES,
            kind=["md", "tex"],
        ),
        f"{paths.RESULTS}/tables/requests.csv",
    log:
        f"{paths.LOGS}/tables.log",
    conda:
        "../../envs/core.yaml"
    params:
        spec=dag.report_spec("report/tables.py"),
    shell:
        "python -m accelbench tables > {log:q} 2>&1"


rule plots:
    """The plots as SVG and PNG, some of them of single requests."""
    input:
        rules.analyse.output,
        rules.classify.output,
    output:
        report(
            expand(f"{paths.RESULTS}/plots/{{plot}}.svg", plot=list(PLOTS)),
            caption="../report/plots.rst",
            category="Plots",
        ),
        expand(f"{paths.RESULTS}/plots/{{plot}}.png", plot=list(PLOTS)),
    log:
        f"{paths.LOGS}/plots.log",
    conda:
        "../../envs/core.yaml"
    params:
        spec=specs.code("report/plots"),
    shell:
        "python -m accelbench plots > {log:q} 2>&1"


rule page:
    """The report: one self-contained page, with plots and a sample of the requests. Its headlines join the history."""
    input:
        rules.analyse.output,
        rules.classify.output,
        rules.plots.output,
    output:
        page=report(
            f"{paths.RESULTS}/report.html",
            caption="../report/page.rst",
            category="Page",
        ),
        provenance=f"{paths.RESULTS}/provenance.json",
        history=update(paths.HISTORY),
    log:
        f"{paths.LOGS}/page.log",
    conda:
        "../../envs/core.yaml"
    params:
        spec=dag.report_spec("report"),
    shell:
        "python -m accelbench page > {log:q} 2>&1"


rule report:
    """The results so far, as tables, plots and a page in results/partial; measures nothing."""
    log:
        f"{paths.LOGS}/partial.log",
    conda:
        "../../envs/core.yaml"
    shell:
        "python -m accelbench report 2>&1 | tee {log:q}"
