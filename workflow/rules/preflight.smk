"""
Preflight: one table of everything that would go wrong. Runs only by name; measures nothing.

in    the config, and what it names
out   nothing: the table is printed; the rule fails if a check fails
"""


localrules:
    preflight,


rule preflight:
    """Tools, params, data, disk, tokens, endpoints, limits and the planned load, before hours of queueing."""
    log:
        f"{paths.LOGS}/preflight.log",
    conda:
        "../../envs/core.yaml"
    shell:
        "python -m accelbench preflight 2>&1 | tee {log:q}"
