"""PBS Pro for Snakemake's cluster-generic executor: submit, status and cancel, each a program of its own.

They run once per job and once per poll, and `cancel` has two seconds in all: nothing here imports the config, the
command line or any package beyond the standard library and orjson.
"""
