"""
Calibration: how far the client's figures are from the truth, under each planned load, on this machine.

in    the planned loads
out   results/calibration/calibration.json
"""


localrules:
    calibrate,


rule calibrate:
    """The client against a server that knows when it wrote. Asked for by name; the report shows what is there."""
    output:
        f"{paths.CALIBRATION}/calibration.json",
    log:
        f"{paths.LOGS}/calibrate.log",
    conda:
        "../../envs/core.yaml"
    resources:
        measure=1,
    params:
        spec=dag.calibrate_spec,
    shell:
        "python -m accelbench calibrate --out $(dirname {output:q}) 2>&1 | tee {log:q}"
