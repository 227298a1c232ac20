# Civium. `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
PYTEST_ARGS ?=
ONLY ?=

.PHONY: help run demo up down test check format bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime .venv-client/.done ## bring the platform up, enrol and authenticate a made-up person, keep serving
	$(BIN)/civium demo --keep

demo: $(VENV)/.runtime .venv-client/.done ## the same, then stop
	$(BIN)/civium demo

up: $(VENV)/.runtime .venv-client/.done ## start the sandbox in the background; returns when it is ready
	$(BIN)/civium sandbox up

down: ## stop the sandbox in the background
	$(BIN)/civium sandbox down

test: $(VENV)/.dev .venv-client/.done ## run every test; PYTEST_ARGS='...' goes to pytest
	@tools/packages chromium
	$(BIN)/python -m tools.checks
	$(BIN)/pytest $(PYTEST_ARGS)

check: $(VENV)/.dev ## format, lint, types, import contracts, house rules
	$(BIN)/python -m tools.checks

format: $(VENV)/.dev ## rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## measure against the machine's own limits; ONLY=auth for one area
	$(BIN)/python -m bench $(ONLY)

docs: $(VENV)/.dev ## build the documentation into docs/_build
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build

clean: ## remove environments and build results (not the data under CIVIUM_HOME)
	rm -rf $(VENV) .venv-client docs/_build

$(VENV)/bin/python:
	tools/environment $(PYTHON) $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python requirements.txt pyproject.toml
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

.venv-client/.done: requirements-client.txt
	tools/environment $(PYTHON) .venv-client
	.venv-client/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes -r requirements-client.txt
	@touch $@
