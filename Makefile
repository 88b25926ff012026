# Every target makes the environment it needs. Nothing but Debian, Python 3.11, gcc, make and git is assumed.
.DEFAULT_GOAL := help
.PHONY: help setup demo check test sweep bench bench-peers lock clean
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

sweep: $(STAMP)  ## Kills, faults and power cuts at every step from a tick to a dataset version, 20,000 mutated inputs, 100,000 hostile frames, 2,000 simulated rollouts
	$(SWEEP)

bench: $(STAMP)  ## Measure what is promised; figures go to .volano/bench
	@mkdir -p .volano/bench
	$(BIN)/python -m benchmarks.rollout_errors --quick --json .volano/bench/rollout_errors.json
	$(BIN)/python -m benchmarks.rollout_cases --quick --json .volano/bench/rollout_cases.json
	$(BIN)/python -m benchmarks.rollout --quick --json .volano/bench/rollout.json
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
	$(BIN)/python -m benchmarks.serving_latency --quick --json .volano/bench/serving_latency.json
	$(BIN)/python -m benchmarks.serving_overhead --quick --json .volano/bench/serving_overhead.json
	$(BIN)/python -m benchmarks.serving_fleet --quick --json .volano/bench/serving_fleet.json
	$(BIN)/python -m benchmarks.serving_isolation --quick --json .volano/bench/serving_isolation.json
	$(BIN)/python -m benchmarks.hold --quick --json .volano/bench/hold.json
	$(BIN)/python -m benchmarks.engines --quick --json .volano/bench/engines.json
	$(BIN)/python -m benchmarks.reuse --quick --json .volano/bench/reuse.json
	$(BIN)/python -m benchmarks.narrow_link --quick --json .volano/bench/narrow_link.json

bench-peers: $(STAMP)  ## The same beside other projects, whose environments are made under .cache/peers
	@mkdir -p .volano/bench
	$(BIN)/python -m tests.peers lerobot
	$(BIN)/python -m benchmarks.ingest_passthrough --quick --json .volano/bench/ingest_passthrough_peers.json
	$(BIN)/python -m benchmarks.ingest_transcode --quick --json .volano/bench/ingest_transcode_peers.json
	$(BIN)/python -m benchmarks.append --quick --peer .cache/peers/lerobot --json .volano/bench/append_peers.json
	@bash infra/reader_peers.sh $(BIN)/uv .cache/venv-readers
	$(BIN)/python -m benchmarks.loader_global --json .volano/bench/loader_global.json
	$(BIN)/python -m benchmarks.loader_global --wide --json .volano/bench/loader_global_wide.json
	$(BIN)/python -m benchmarks.loader_block --json .volano/bench/loader_block.json

lock: $(STAMP)  ## Renew the locks from pyproject.toml, every version with its hashes, torch and what it drags in apart
	@echo "torch==2.13.0" | $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --all-extras pyproject.toml \
		--no-header --no-annotate --generate-hashes --constraint - --output-file $(VENV)/all.lock
	@awk '/^[a-z]/ { apart = /^(torch|triton|nvidia-|cuda-)/ } \
		{ print > (apart ? "requirements-torch.lock" : "requirements.lock") }' $(VENV)/all.lock

clean:  ## Remove the environments and caches
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
