"""
Training: one params file, one run and one log per platform, size and repeat.

in    the base params file, results/corpus
size  bs{batch}, or bs{batch}-mb{micro} if the sweep varies the micro batch
out   results/training/{platform}/{size}/r{repeat}/*, results/training/runs.jsonl

Logs of runs that are over (backend: log) take the place of the params file. Only `train` is a cluster's business.
"""


localrules:
    corpus,
    params,
    compile,
    train_log,
    parse,


checkpoint corpus:
    """The training text as HDF5. A checkpoint, so that its digest can be part of the specs of the runs."""
    output:
        facts=f"{paths.CORPUS}/corpus.json",
        train=f"{paths.CORPUS}/train/data-00000.h5",
        held_out=f"{paths.CORPUS}/val/data-00000.h5",
    log:
        f"{paths.LOGS}/corpus.log",
    priority: graph.FIRST
    conda:
        "../../envs/local.yaml"
    resources:
        measure=1,
    params:
        spec=lambda _: specs.corpus_spec(CONFIG),
    shell:
        "python -m accelbench corpus --out {output.facts:q} > {log:q} 2>&1"


# ancient: rebuilding a corpus with the same content repeats nothing; its digest is in the spec
corpus_of = lambda wildcards: (
    ancient(checkpoints.corpus.get().output.facts) if CONFIG.training.corpus else []
)


rule params:
    """The params file of one run, in ModelZoo's format."""
    input:
        corpus=corpus_of,
    output:
        f"{paths.TRAIN_RUN}/params.yaml",
    log:
        f"{paths.LOGS}/params/{{platform}}-{{size}}-r{{repeat}}.log",
    priority: graph.FIRST
    conda:
        "../../envs/core.yaml"
    resources:
        measure=1,
    params:
        spec=dag.spec,
    shell:
        "python -m accelbench params --platform {wildcards.platform} --size {wildcards.size} "
        "--repeat {wildcards.repeat} --out {output:q} > {log:q} 2>&1"


rule compile:
    """The compile of one size before its runs, if `prewarm` is set, so that no wafer waits for it."""
    input:
        params=ancient(rules.params.output[0].replace("{repeat}", "1")),
        corpus=corpus_of,
    output:
        paths.COMPILED,
    log:
        f"{paths.LOGS}/compile/{{platform}}-{{size}}.log",
    priority: dag.order
    conda:
        "../../envs/core.yaml"
    resources:
        compile=1,
    params:
        spec=dag.spec,
    shell:
        "python -m accelbench compile --platform {wildcards.platform} --size {wildcards.size} "
        "--params {input.params:q} --out {output:q} > {log:q} 2>&1"


params_of = lambda wildcards: (
    rules.params.output if dag.renders_params(wildcards) else []
)
trained_on = lambda wildcards: (
    corpus_of(wildcards) if dag.renders_params(wildcards) else []
)


rule train:
    """One training run, or the log of a finished one. Reruns only when its spec changes."""
    input:
        params=params_of,
        corpus=trained_on,
        log=dag.logs_brought,
        compiled=lambda wildcards: ancient(dag.compiled(wildcards)),
    output:
        f"{paths.TRAIN_RUN}/measured.json",
    log:
        f"{paths.TRAIN_RUN}/job.log",
    wildcard_constraints:
        platform=dag.platforms(trains=True),
    priority: dag.order
    conda:
        "../../envs/local.yaml"
    resources:
        **dag.on_node("train"),
        measure=dag.train_resource("measure"),
        csx=dag.train_resource("csx"),
        nodes=dag.train_resource("nodes"),
        tasks=dag.train_resource("tasks"),
        mpi=dag.train_resource("mpi"),
    params:
        spec=dag.spec,
    shell:
        "python -m accelbench train --platform {wildcards.platform} --size {wildcards.size} "
        "--repeat {wildcards.repeat} --spec {params.spec:q} --out {output:q} > {log:q} 2>&1"


use rule train as train_log with:
    wildcard_constraints:
        platform=dag.platforms(trains=False),
    resources:
        measure=0,


rule parse:
    """All logs, parsed: steps.csv and summary.json per run, and one record each."""
    input:
        dag.train_results,
        dag.power_files("training"),
        joined(),
    output:
        paths.RUNS,
    log:
        f"{paths.LOGS}/parse.log",
    conda:
        "../../envs/core.yaml"
    resources:
        measure=1,
    params:
        spec=dag.derived_spec("training", "training/runs.py"),
    shell:
        "python -m accelbench parse --out {output:q} > {log:q} 2>&1"
