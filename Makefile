# Everything that these commands install stays in .tools, .venv and .cache of this folder, and in the usual caches of uv,
# Maven, Go and Docker. They need Python 3.11 and make. The services also need JDK 17 and Maven. The chart and the
# cluster also need Docker, and Go if helm, kubectl and kind are not on the PATH.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

UV_VERSION := 0.13.9
UV := .tools/uv-$(UV_VERSION)/bin/uv
PYTHON := .venv/bin/python
READY := .venv/.ready
AIRFLOW := .cache/airflow/.ready
SERVICES := .cache/services
NAME ?= sensor-etl
ARGS ?=

.PHONY: help setup demo test test-package test-dags test-python test-charts lint audit docs docs-site format simulate simulate-mutants fuzz verify-delivery soak bench bench-peers bench-insight bench-page package release-notes images up down e2e operators services services-stop clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create the environment .venv from uv.lock (the other commands do this by themselves)

demo: $(READY) ## Start Kafka and Cassandra, run synthetic readings through all stages twice, show the results
	@PATH="$(CURDIR)/.venv/bin:$$PATH" docs/examples/demo.sh

ifdef ARGS
test: $(READY) ## Run the tests of the package, on real services, and of the DAG (ARGS="tests/unit -k name" selects tests)
	$(PYTHON) -m pytest $(ARGS)
else
test: $(READY) $(AIRFLOW)
	@$(MAKE) --no-print-directory --jobs=2 test-package test-dags
endif

# Two processes: a process waits for Java half of the time.
test-package: $(READY)
	$(PYTHON) -m pytest --numprocesses=2 --dist=worksteal

# It runs in parallel with the tests of the package, so it prints its output at the end.
test-dags: $(AIRFLOW)
	@out=$$(.cache/airflow/venv/bin/python -m pytest tests/dags 2>&1) && status=0 || status=$$?; \
	    printf '\n%s\n' "$$out"; exit $$status

test-python: PYTHON := python3.13
test-python: | $(UV) ## Run the unit tests with another Python, in an environment of its own (PYTHON=python3.13)
	@UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv-$(notdir $(PYTHON)) \
	    images/patiently "fetch and install the packages for $(PYTHON)" $(UV) sync --quiet --frozen
	.venv-$(notdir $(PYTHON))/bin/python -m pytest --numprocesses=2 --dist=worksteal tests/unit $(ARGS)

test-charts: $(READY) ## Run the tests of the chart
	$(PYTHON) -m pytest --numprocesses=2 --dist=worksteal tests/charts $(ARGS)

lint: $(READY) ## Check style, format, types, imports and words
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports --no-cache
	$(PYTHON) -m docs.words

audit: $(READY) ## Look for known vulnerabilities of the locked packages, and check the SBOMs of the images
	@$(PYTHON) -m images audit

docs: $(READY) ## Generate the tables in the docs
	$(PYTHON) -m docs.update

docs-site: $(READY) ## Build the site of the docs in .cache/site, and check each link
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

format: $(READY) ## Format the code, and apply automatic fixes
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

simulate: $(READY) ## Run the stages on twins of their services, under seeded faults (SEEDS=100000, then SEEDS=100000..200000)
	$(PYTHON) -m tests.simulation $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

simulate-mutants: $(READY) ## Show that the simulation finds seeded faults of the pipeline
	$(PYTHON) -m tests.simulation.mutants $(ARGS)

fuzz: $(READY) ## Feed changed bytes to all that reads input (INPUTS=1000000 ONLY=decoder)
	$(PYTHON) -m tests.fuzz $(if $(ONLY),--target $(ONLY)) $(if $(INPUTS),--inputs $(INPUTS)) $(ARGS)

verify-delivery: $(READY) ## Run the pipeline on real services under seeded faults (FAULTS=200, SEED=7; ARGS="--hours 1")
	$(PYTHON) -m tests.verify $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: $(READY) ## Run back to back on local services for hours, show that nothing grows (HOURS=0.1; BACKLOG=20000000 catches up instead)
	$(PYTHON) -m tests.soak $(if $(HOURS),--hours $(HOURS)) $(if $(BACKLOG),--backlog $(BACKLOG)) $(ARGS)

bench: $(READY) ## Measure every stage and its peers on local services (ONLY=load selects a part, READINGS=100000)
	$(PYTHON) -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(READINGS),--readings $(READINGS)) $(ARGS)

bench-peers: $(READY) ## Measure Spark and other peers on the same topic and table (downloads 400 MB)
	$(PYTHON) -m tests.bench.peers $(if $(ONLY),--only $(ONLY)) $(if $(READINGS),--readings $(READINGS)) $(ARGS)

bench-insight: $(READY) ## Score the analysis and its peers against labelled data and synthetic faults (ARGS="--seeds 3" for fewer plants)
	$(PYTHON) -m tests.bench.labelled
	$(PYTHON) -m tests.bench.insight $(ARGS)

bench-page: $(READY) ## Measure the response times of the page in Chromium, with 1,000 machines and a month (ARGS="--machines 100")
	$(PYTHON) -m tests.bench.page $(ARGS)

package: $(READY) ## Build the wheel and the source archive in dist, check them, and install the wheel
	rm -rf dist
	$(PYTHON) -m build --no-isolation --outdir dist
	$(PYTHON) -m twine check --strict dist/*
	$(PYTHON) -m pytest tests/package $(ARGS)

release-notes: $(READY) ## Print the notes of this version from CHANGELOG.md
	@$(PYTHON) -m docs.release_notes

images: $(READY) ## Build all container images, print their sizes
	@$(PYTHON) -m images build $(ARGS)

up: ## Create a kind cluster with everything in it (NAME=... for a second one)
	@images/prerequisites
	@$(MAKE) --no-print-directory $(READY)
	@$(PYTHON) -m images install --name $(NAME)

down: $(READY) ## Remove the cluster
	@$(PYTHON) -m images cluster down --name $(NAME)

# ARGS belong to pytest, so this target does not depend on `images`, which has arguments of its own.
e2e: $(READY) ## Test images and pipeline in a separate kind cluster, print the figures (ARGS="-m 'not long'")
	@$(PYTHON) -m images build
	OPERATORS=$(OPERATORS) $(PYTHON) -m pytest -s --timeout=2400 tests/images tests/e2e $(ARGS)

operators: $(READY) ## Install Strimzi and the K8ssandra operator into the cluster (then: make e2e with OPERATORS=1)
	@$(PYTHON) -m images operators --name $(NAME)

services: $(READY) ## Start a Kafka broker and a Cassandra node for trials, print the settings that reach them
	@$(PYTHON) -m images local up --dir $(SERVICES)

services-stop: $(READY) ## Stop these services (their data stays in .cache)
	@$(PYTHON) -m images local down --dir $(SERVICES)

clean: ## Remove the environment and all caches of this folder
	@[ ! -x $(PYTHON) ] || $(PYTHON) -m images local down --dir $(SERVICES)
	@[ ! -d .cache/clusters ] || for name in $$(ls .cache/clusters); do $(PYTHON) -m images cluster down --name $$name; done
	@[ ! -d .cache/docker ] || $(PYTHON) -m images docker down
	rm -rf .tools .venv .venv-* .cache dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml uv.lock | $(UV)
	@UV_PYTHON=python3.11 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv \
	    images/patiently "fetch and install the Python packages" $(UV) sync --quiet --frozen --compile-bytecode
	@touch $@

$(AIRFLOW): images/airflow/pyproject.toml images/airflow/uv.lock | $(UV)
	@UV_PYTHON=python3.11 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=$(CURDIR)/.cache/airflow/venv \
	    images/patiently "fetch and install Airflow" $(UV) sync --quiet --frozen --compile-bytecode --project images/airflow
	@touch $@

$(UV):
	@python3.11 -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "Python 3.11 with its venv module is needed, and python3.11 is not there: install it first" >&2; exit 2; }
	@python3.11 -m venv .tools/uv-$(UV_VERSION)
	@images/patiently "fetch uv" .tools/uv-$(UV_VERSION)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
