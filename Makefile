# `make demo` and `make test` do all the set-up. PYTHON picks the interpreter (3.10 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONPATH :=

# Unit tests that start databases and stores, kill processes and cut power: not in `make unit`,
# which takes a minute.
LOG := tests/unit/prediction_log
SLOW := tests/unit/batch/test_crew.py tests/unit/batch/test_resume.py tests/unit/batch/test_s3.py \
	$(LOG)/test_clock_and_crowd.py $(LOG)/test_crash_states.py $(LOG)/test_damaged_files.py \
	$(LOG)/test_killed_under_load.py $(LOG)/test_s3_faults.py $(LOG)/test_shipping_faults.py \
	$(LOG)/sinks/test_compaction.py $(LOG)/sinks/test_conformance.py \
	$(LOG)/sinks/test_mlflow_artifacts.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-spark unit lint compat soak lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

setup: $(VENV)/.done  ## .venv in this checkout, from requirements.lock

$(VENV)/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Asfitted needs Python 3.10 or newer, this is %s; say PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup  ## train, promote, serve and log on real flights
	$(BIN)/python examples/flights/demo.py

# In this order: else the longest files, which have few tests, come last.
test: setup lint unit  ## everything that guards main
	$(BIN)/python -m pytest tests/conformance tests/e2e $(SLOW) -n 2 --dist loadfile \
		--no-loadscope-reorder -m "not soak"

# pyspark is no part of requirements.lock: 480 MB, which only these tests need.
test-spark: setup  ## the tests on a real Spark; they need Java 17
	@java -version >/dev/null 2>&1 || { echo "Spark needs Java 17: install openjdk-17-jre-headless" >&2; exit 1; }
	$(BIN)/python -c 'import pyspark' 2>/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python 'pyspark>=4.0'
	$(BIN)/python -m pytest tests/spark -n 0

unit: setup
	$(BIN)/python -m pytest tests/unit $(addprefix --ignore=,$(SLOW)) -n 2 -m "not soak"

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

compat: setup  ## the tests in the corner environments
	$(BIN)/python tests/compat.py

soak: setup  ## long runs: kill -9 under load, fuzz
	$(BIN)/python -m pytest tests -m soak

lock: setup  ## write requirements.lock anew, for every supported Python
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --no-emit-package asfitted --no-annotate --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .compat
