"""
Calibration: the error of the client's figures under each planned load, on this machine.

in    the planned loads
out   results/calibration/calibration.json
"""


localrules:
    calibrate,


rule calibrate:
    """The client against a server that records when it wrote. Runs only by name; the report shows the last result."""
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
