# Everything that these commands install stays in .tools, .venv and .cache of this folder
# (and in the usual caches of uv and Maven). Needed: Python 3.11, make; for the services JDK 17 and Maven.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

UV_VERSION := 0.13.9
UV := .tools/uv-$(UV_VERSION)/bin/uv
PYTHON := .venv/bin/python
READY := .venv/.ready
SERVICES := .cache/services
ARGS ?=

.PHONY: help setup demo test lint docs format bench bench-peers services services-stop clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the environment .venv from uv.lock (the other commands do it by themselves)

demo: $(READY) ## Bring up Kafka and Cassandra, run synthetic readings through all stages twice, show the table
	@PATH="$(CURDIR)/.venv/bin:$$PATH" docs/examples/demo.sh

test: $(READY) ## Run all tests on real services (ARGS="tests/unit -k name" for some)
	$(PYTHON) -m pytest $(ARGS)

lint: $(READY) ## Check style, format and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

docs: $(READY) ## Write the generated parts of the docs
	$(PYTHON) -m docs.update

format: $(READY) ## Format the code, and repair what can be
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: $(READY) ## Measure every stage on local services, peers beside it (ONLY=load for a part, READINGS=100000)
	$(PYTHON) -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(READINGS),--readings $(READINGS)) $(ARGS)

bench-peers: $(READY) ## Measure Spark and others on the same topic and table (downloads much)
	$(PYTHON) -m tests.bench.peers $(if $(ONLY),--only $(ONLY)) $(if $(READINGS),--readings $(READINGS)) $(ARGS)

services: $(READY) ## Start a Kafka broker and a Cassandra node for trials, print the settings that reach them
	@$(PYTHON) -m images.local up --dir $(SERVICES)

services-stop: $(READY) ## Stop them (their data stays in .cache)
	@$(PYTHON) -m images.local down --dir $(SERVICES)

clean: ## Remove the environment and everything in the caches of this folder
	@[ ! -x $(PYTHON) ] || $(PYTHON) -m images.local down --dir $(SERVICES)
	rm -rf .tools .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml uv.lock | $(UV)
	@UV_PYTHON=python3.11 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --quiet --frozen --compile-bytecode
	@touch $@

$(UV):
	@python3.11 -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "Python 3.11 with its venv module is needed, and python3.11 is not there: install it first" >&2; exit 2; }
	@python3.11 -m venv .tools/uv-$(UV_VERSION)
	@.tools/uv-$(UV_VERSION)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
