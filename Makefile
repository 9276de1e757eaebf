# Two commands matter: `make demo` runs the product on this machine, `make test` runs its tests.
# Both do all set-up. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := demo,postgres,dev
# Half as many processes again as there are cores: tests of real processes wait for leases and time-outs half of their time.
TEST_PROCESSES := $(shell expr \( 3 \* $$(nproc) + 1 \) / 2)
ON_ALL_CORES := -n $(TEST_PROCESSES) --dist loadgroup --no-loadscope-reorder
PROTOS := $(wildcard proto/hilnas/v1/*.proto)

.PHONY: help setup demo demo-compare test test-long test-fast conformance lint types imports check proto proto-check bench docs rknn clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make the virtual environment and install everything

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	touch $(STAMP)

demo: setup  ## train, search and measure on this machine; KEEP=1 leaves the server up
	$(BIN)/hilnas demo $(if $(KEEP),--keep)

demo-compare: setup  ## the demo, and a search at random with the same budget beside it
	$(BIN)/hilnas demo --compare $(if $(KEEP),--keep)

# What failed runs once more, alone: what passes then is named UNSTEADY, failing twice is failing.
define TESTED
$(BIN)/python -m pytest $(ON_ALL_CORES) -m "$(1)" --durations=20 $(PYTEST_ARGS) || { test $$? = 1 && \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures=none --unsteady $(PYTEST_ARGS); }
endef

test: setup  ## every test that needs nothing beside this clone, on all cores; but for those of `make test-long`
	$(call TESTED,not long)

test-long: setup  ## the fuzzers, and the longest faults in real processes
	$(call TESTED,long)

test-fast: setup  ## the unit and property tiers (seconds)
	$(BIN)/python -m pytest $(ON_ALL_CORES) tests/unit tests/property $(PYTEST_ARGS)

conformance: setup  ## send the API about 100,000 requests of its own description, with every check (hours)
	CONFORMANCE_EXAMPLES=1000 $(BIN)/python -m pytest --timeout 0 --show-capture no tests/integration/core/test_api_conformance.py $(PYTEST_ARGS)

lint: setup  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy --strict
	$(BIN)/mypy

imports: setup  ## the layers of ARCHITECTURE.md
	$(BIN)/lint-imports

check: lint types imports proto-check  ## everything that needs no test run

proto: setup  ## regenerate the wire's Python code
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. --pyi_out=. $(PROTOS)

proto-check: proto  ## the committed generated code is up to date
	git diff --exit-code -- hilnas/v1

bench: setup  ## the export benchmark; the others in benchmarks/ say what they need
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/boards/export.py

docs: setup  ## build the documentation into docs/_build
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W -b html docs docs/_build

rknn:  ## an environment of its own with the real RKNN converter (.venv-rknn)
	scripts/make_rknn_env.sh

clean:  ## remove what the other targets made
	rm -rf $(VENV) demo docs/_build build dist
