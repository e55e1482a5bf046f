# foretail: `make demo` and `make test` do all of their own set-up; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help install demo test test-stack services-up services-down lint format clean lock

help: ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "foretail needs Python 3.11 or later: install it, or make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing foretail (core) into $(VENV)" >&2
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.all: $(VENV)/.core
	@echo "installing what tests, lint and benchmarks need into $(VENV)" >&2
	$(PIP_INSTALL) -e '.[all,test,lint,bench]'
	@touch $@

install: $(VENV)/.all ## .venv with everything the tests need

demo: $(VENV)/.core ## the main job on two years of real invoices -> foretail-demo/report.html
	$(BIN)/python examples/demo.py

test: $(VENV)/.all ## every test that runs from Python packages alone
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-stack: $(VENV)/.all ## tests on real services; run as root it installs their Debian packages
	$(BIN)/python -m scripts.services install
	$(BIN)/python -m pytest tests/stack

services-up: $(VENV)/.all ## private services on loopback; prints the variables that say where they answer
	@$(BIN)/python -m scripts.services up

services-down: $(BIN)/python ## stop what services-up started, and delete what it held
	@$(BIN)/python -m scripts.services down

lint: $(VENV)/.all ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.all ## rewrite the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-%: $(VENV)/.all ## bench-accuracy, bench-startup, ...: a table, and benchmarks/results/NAME.json
	$(BIN)/python -m benchmarks.$*

lock: $(VENV)/.all ## renew constraints.txt (needs uv)
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --all-extras pyproject.toml -o constraints.txt

clean: ## remove the environment and run outputs
	rm -rf $(VENV) foretail-demo foretail-out .foretail build dist src/*.egg-info
