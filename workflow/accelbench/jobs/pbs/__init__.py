"""PBS Pro for Snakemake's cluster-generic executor: the programs submit, status and cancel.

They run once per job and once per poll, and `cancel` has two seconds in all: nothing here imports the config, the
command line or any package beyond the standard library and orjson.
"""
