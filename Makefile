# Every recipe runs in this folder, whatever its path holds (spaces included): relative paths only.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The interpreter that makes .venv: the first of these that runs and is new enough.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do "$$python" -c '$(NEW_ENOUGH)' \
    2>/dev/null && echo "$$python" && exit; done; echo python3)
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
PYTEST_FLAGS ?=

# What the C++ engine is built from. Installing evo-nas builds it, if there is a compiler; pip
# keeps to itself what it has to say about that.
NATIVE := workers/engine/native
NATIVE_SOURCES := $(wildcard setup.py $(NATIVE)/build.py $(NATIVE)/source/*.h $(NATIVE)/source/*.cpp)
SAY_IF_NOT_BUILT = @ls $(NATIVE)/lib/*.so >/dev/null 2>&1 || echo "The C++ engine was not built:" \
    "'$(BIN)/evo-nas doctor' says why. Without it candidates train more slowly, with torch." >&2

# The runtimes of the sanitizers must come before all else in the process.
RUNTIMES = $(foreach name,asan ubsan,$(shell $(CXX) -print-file-name=lib$(name).so))
# Python and torch never free all they allocate; Python's own allocator would hide overruns.
SANITIZED = EVO_NAS_NATIVE_DIR="$$PWD/build/sanitize" LD_PRELOAD="$(strip $(RUNTIMES))" \
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc

.PHONY: help search setup setup-dev test test-slow sanitize lint format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

search: setup  ## Search for a cell on this machine, for 4 minutes, into a new folder of runs/
	@mkdir -p runs
	$(BIN)/evo-nas search examples/quickstart.toml --run "runs/quickstart-$$(date +%Y%m%d-%H%M%S)"

setup: .venv/.installed  ## Create .venv and install evo-nas with the pinned versions

setup-dev: .venv/.installed-dev  ## The same, with what tests and lint need

test: setup-dev  ## Run the default test suite
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-slow: setup-dev  ## Run every test, the slow ones too
	$(BIN)/python -m pytest -m "slow or not slow" --timeout 900 $(PYTEST_FLAGS)

sanitize: setup-dev  ## Run the tests of the C++ engine with address and undefined sanitizers
	CXX="$(CXX)" $(BIN)/python $(NATIVE)/build.py --sanitize build/sanitize
	@# What a sanitizer says before it ends the process must not be lost with pytest's capture.
	$(SANITIZED) $(BIN)/python -m pytest --capture=sys --timeout 900 $(PYTEST_FLAGS) \
	  tests/test_native_*.py

lint: setup-dev  ## Check style and types, for Python 3.11 and 3.12
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ruff check --target-version py312 .
	$(BIN)/mypy --python-version 3.11
	$(BIN)/mypy --python-version 3.12

format: setup-dev  ## Rewrite the code in the style that lint checks
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:  ## Remove .venv, builds and caches; runs/ stays
	rm -rf .venv build $(NATIVE)/lib *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { \
	  echo "evo-nas needs Python 3.11 or newer, but '$(PYTHON)' is none" \
	    "($$("$(PYTHON)" --version 2>&1 || true)). Install one, or name one:" \
	    "make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv

# A stamp is newer than what it depends on only if the installation succeeded.
.venv/.installed: pyproject.toml constraints.txt $(NATIVE_SOURCES) | .venv/bin/python
	$(PIP_INSTALL) --editable .
	$(SAY_IF_NOT_BUILT)
	touch $@

.venv/.installed-dev: pyproject.toml constraints.txt $(NATIVE_SOURCES) | .venv/bin/python
	$(PIP_INSTALL) --editable '.[dev]'
	$(SAY_IF_NOT_BUILT)
	touch .venv/.installed $@
