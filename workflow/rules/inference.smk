"""
Inference: measure each endpoint under each load and keep every attempt.

in    the data set of each prompt set
out   results/prompts/{set}.jsonl, results/inference/{endpoint}/{cell}/r{round}/*, of searches {endpoint}/{cell}/*;
      results/inference/{rounds.jsonl,requests.parquet}

Only `infer_on_node`, `infer_endpoint` and `search_on_node` are a cluster's business: no GPU is booked to send HTTP.
"""


localrules:
    prompts,
    weights,
    infer,
    classify,
    search,


checkpoint prompts:
    """The prompts. A checkpoint, so that the digest of each round's prompts can be part of its spec."""
    input:
        dag.prompt_files,
    output:
        prompts=f"{paths.PROMPTS}.jsonl",
        facts=f"{paths.PROMPTS}.json",
        passages=f"{paths.PROMPTS}.passages.json",
    log:
        f"{paths.LOGS}/prompts/{{set}}.log",
    priority: graph.FIRST
    conda:
        "../../envs/core.yaml"
    resources:
        measure=1,
    params:
        spec=lambda wildcards: specs.prompts_spec(CONFIG, wildcards.set),
    shell:
        "python -m accelbench prompts --set {wildcards.set} --out {output.prompts:q} > {log:q} 2>&1"


rule weights:
    """Packaged weights, converted for `transformers serve`."""
    output:
        directory(paths.WEIGHTS),
    log:
        f"{paths.LOGS}/weights/{{model}}.log",
    priority: graph.FIRST
    conda:
        "../../envs/local.yaml"
    resources:
        measure=1,
    shell:
        "python -m accelbench weights --model {wildcards.model:q} --out {output:q} > {log:q} 2>&1"


# ancient: rebuilding prompts with the same content repeats nothing; their digest is in the spec
prompts_of = lambda wildcards: ancient(
    checkpoints.prompts.get(
        set=specs.scenario_of(CONFIG, wildcards.cell).prompts
    ).output.prompts
)
weights_of = lambda wildcards: [ancient(path) for path in dag.weights_of(wildcards)]


rule infer:
    """One round of one load against one endpoint. Reruns only when its spec changes."""
    input:
        prompts=prompts_of,
        weights=weights_of,
    output:
        f"{paths.INFER_ROUND}/measured.json",
    # exchanges.jsonl, the journal, is not declared: Snakemake deletes declared outputs and logs before a retry
    log:
        f"{paths.INFER_ROUND}/job.log",
    wildcard_constraints:
        endpoint=dag.endpoints(on_node=False),
    priority: dag.order
    conda:
        "../../envs/local.yaml"
    resources:
        measure=1,
    params:
        spec=dag.spec,
    shell:
        "python -m accelbench infer --endpoint {wildcards.endpoint} --cell {wildcards.cell} "
        "--round {wildcards.round} --spec {params.spec:q} --prompts {input.prompts:q} --out {output:q} > {log:q} 2>&1"


use rule infer as infer_on_node with:
    wildcard_constraints:
        endpoint=dag.endpoints(on_node=True),
    resources:
        **dag.on_node("infer"),


rule infer_endpoint:
    """All rounds of an endpoint on a node, its server started once. Reruns, for what is missing, when a spec changes."""
    input:
        prompts=lambda wildcards: [
            ancient(checkpoints.prompts.get(set=name).output.prompts)
            for name in dag.prompt_sets_of(wildcards)
        ],
        weights=weights_of,
    # of the rounds nothing is declared: Snakemake would delete the finished ones when another fails
    output:
        f"{paths.INFER_ENDPOINT}/measured.json",
    log:
        f"{paths.INFER_ENDPOINT}/job.log",
    wildcard_constraints:
        endpoint=dag.endpoints(on_node=True, in_one_job=True),
    conda:
        "../../envs/local.yaml"
    resources:
        **dag.on_node("infer"),
    params:
        spec=dag.spec,
    shell:
        "python -m accelbench infer-endpoint --endpoint {wildcards.endpoint} --spec {params.spec:q} "
        "--out {output:q} > {log:q} 2>&1"


rule search:
    """The highest load at which an endpoint meets a scenario's objectives (find_max): as many rounds as it takes."""
    input:
        prompts=prompts_of,
        weights=weights_of,
    # the rounds are not declared: an interrupted search goes on
    output:
        f"{paths.SEARCH}/measured.json",
    log:
        f"{paths.SEARCH}/job.log",
    wildcard_constraints:
        cell=dag.searched_cells,
        endpoint=dag.endpoints(on_node=False),
    priority: dag.order
    conda:
        "../../envs/local.yaml"
    resources:
        measure=1,
    params:
        spec=dag.spec,
    shell:
        "python -m accelbench search --endpoint {wildcards.endpoint} --cell {wildcards.cell} "
        "--spec {params.spec:q} --prompts {input.prompts:q} --out {output:q} > {log:q} 2>&1"


use rule search as search_on_node with:
    wildcard_constraints:
        cell=dag.searched_cells,
        endpoint=dag.endpoints(on_node=True, in_one_job=None),
    resources:
        **dag.on_node("infer"),


rule classify:
    """All attempts, classified and scored: requests.jsonl per round, the columns of all, and a record per round."""
    input:
        dag.infer_results,
        dag.power_files("inference"),
        joined(),
    output:
        rounds=paths.ROUNDS,
        requests=paths.REQUESTS,
    log:
        f"{paths.LOGS}/classify.log",
    conda:
        "../../envs/core.yaml"
    resources:
        measure=1,
    params:
        spec=dag.derived_spec("inference", "inference/answers/classify.py"),
    shell:
        "python -m accelbench classify --out {output.rounds:q} > {log:q} 2>&1"
