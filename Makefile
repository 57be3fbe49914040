# Every target is one plain command; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: help setup train test test-integration lint bench docs ui tracking-server lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-21s %s\n", $$1, $$2 }'

setup: .venv/base.done ## make .venv with what running needs

train: .venv/base.done ## train the tutorial's CNN on synthetic faces of 128 pixels: python -m src.train ARGS
	$(BIN)/python -m src.train dataset.image_size=128 $(ARGS)

test: .venv/dev.done ## run the tests but those of test-integration, a process a core: pytest ARGS
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not integration" $(ARGS)

test-integration: .venv/dev.done ## run the tests that start clusters, databases, browsers, environments: pytest ARGS
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile -m integration $(ARGS)

lint: .venv/dev.done ## check style and types: ruff, mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/dev.done ## measure: python -m benchmarks ARGS (speed, faults or fuzz; speed: 10 to 35 minutes)
	$(BIN)/python -m benchmarks $(or $(ARGS),speed)

docs: .venv/docs.done ## build the documentation as a site in build/site, links checked: python -m docs.site ARGS
	$(BIN)/python -m docs.site $(ARGS)

ui: .venv/base.done ## compare runs in the MLflow UI: python -m src.ui ARGS
	$(BIN)/python -m src.ui $(ARGS)

# PostgreSQL, for many runs at once: make tracking-server BACKEND=postgresql+psycopg2://user@host/mlflow
# Its driver is in the extra `server`, and in requirements/dev.lock.
BACKEND ?= sqlite:///$(CURDIR)/mlruns/server.db
ARTIFACTS ?= $(CURDIR)/mlruns/server
HOST ?= 127.0.0.1
PORT ?= 5000

tracking-server: .venv/base.done ## serve tracking=server: BACKEND, ARTIFACTS, HOST, PORT
	$(BIN)/mlflow server --backend-store-uri "$(BACKEND)" --serve-artifacts --artifacts-destination "$(ARTIFACTS)" \
		--host $(HOST) --port $(PORT)

lock: .venv/dev.done ## pin all versions again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev $(LOCK_OPTIONS) -o requirements/dev.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements/dev.lock $(LOCK_OPTIONS) -o requirements/base.lock
	$(BIN)/uv pip compile pyproject.toml --extra docs -c requirements/dev.lock $(LOCK_OPTIONS) -o requirements/docs.lock
	$(BIN)/uv pip compile pyproject.toml --extra gpu -c requirements/dev.lock $(LOCK_OPTIONS) -o requirements/gpu.lock
	$(BIN)/uv pip compile requirements/serve.in -c requirements/dev.lock $(LOCK_OPTIONS) --python-version 3.11 -o requirements/serve.lock

LOCK_OPTIONS := --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header

clean: ## remove .venv and all caches; mlruns/ and outputs/ stay
	rm -rf .venv .cache .pytest_cache .ruff_cache .mypy_cache

# A marker per lock: the environment is brought up to date when its lock changes.
.venv/%.done: requirements/%.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@
