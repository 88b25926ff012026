# Every target makes the environment it needs. Nothing but Debian, Python 3.11, gcc, make and git is assumed.
.DEFAULT_GOAL := help
.PHONY: help setup demo check test sweep bench lock clean
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UNIT := $(BIN)/python -m pytest tests/unit --numprocesses 2 --dist worksteal
SWEEP := $(BIN)/python -m pytest tests/sweeps --numprocesses 2 --dist worksteal
export PYTHONPATH := platform:.
unexport PYTHONDONTWRITEBYTECODE
export RAY_AUTH_MODE ?= disabled
export DS_ACCELERATOR ?= cpu
export OMP_NUM_THREADS ?= 1

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## Create the environment (.venv) from the locks, and the system libraries for rendering

$(STAMP): requirements.lock requirements-torch.lock infra/install.sh pyproject.toml
	@bash infra/install.sh "$(PYTHON)" "$(VENV)"
	@touch $@

demo: $(STAMP)  ## Turn the flywheel twice: fleet, ingest, training, evaluation, serving, rollout; a report at the end
	$(BIN)/python -m jobs.flywheel

check: $(STAMP)  ## Format, lint, layer contracts, types and unit tests, these two beside each other
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy & types=$$!; $(UNIT); tests=$$?; wait $$types && exit $$tests

test: $(STAMP)  ## Every test: unit, sweeps, integration, peers in environments of their own
	$(UNIT)
	$(SWEEP)
	$(BIN)/python -m pytest tests/integration

sweep: $(STAMP)  ## Kills, faults and power cuts at every step from a tick to a dataset version, and 20,000 mutated inputs
	$(SWEEP)

bench: $(STAMP)  ## Measure what is promised; figures go to .volano/bench
	@mkdir -p .volano/bench
	$(BIN)/python -m benchmarks.rollout_errors --quick --json .volano/bench/rollout_errors.json
	$(BIN)/python -m benchmarks.gate --quick --json .volano/bench/gate.json
	$(BIN)/python -m benchmarks.catalogue --quick --json .volano/bench/catalogue.json
	$(BIN)/python -m benchmarks.append --quick --json .volano/bench/append.json
	$(BIN)/python -m benchmarks.ingest_passthrough --quick --json .volano/bench/ingest_passthrough.json
	$(BIN)/python -m benchmarks.ingest_transcode --quick --json .volano/bench/ingest_transcode.json
	$(BIN)/python -m benchmarks.freshness --quick --json .volano/bench/freshness.json
	$(BIN)/python -m benchmarks.step_overhead --quick --json .volano/bench/step_overhead.json
	$(BIN)/python -m benchmarks.checkpoint --quick --json .volano/bench/checkpoint.json
	$(BIN)/python -m benchmarks.compute_efficiency --quick --json .volano/bench/compute_efficiency.json
	$(BIN)/python -m benchmarks.model_peer --quick --json .volano/bench/model_peer.json
	$(BIN)/python -m benchmarks.loader_global --quick --json .volano/bench/loader_global.json
	$(BIN)/python -m benchmarks.loader_block --quick --json .volano/bench/loader_block.json
	$(BIN)/python -m benchmarks.stall --quick --json .volano/bench/stall.json

lock: $(STAMP)  ## Renew the locks from pyproject.toml, every version with its hashes, torch and what it drags in apart
	@echo "torch==2.13.0" | $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --all-extras pyproject.toml \
		--no-header --no-annotate --generate-hashes --constraint - --output-file $(VENV)/all.lock
	@awk '/^[a-z]/ { apart = /^(torch|triton|nvidia-|cuda-)/ } \
		{ print > (apart ? "requirements-torch.lock" : "requirements.lock") }' $(VENV)/all.lock

clean:  ## Remove the environments and caches
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
