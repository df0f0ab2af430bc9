# Everything runs in its own environment, from the built wheel, with the versions of constraints.txt.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
SOURCES := $(shell find ai_backtrader strategies analyzers datafeeds -type f -not -name '*.pyc') pyproject.toml constraints.txt
DATA   ?=
ARGS   ?=
PYTHONS ?= python3.11 python3.12 python3.13

.DEFAULT_GOAL := help
.PHONY: help demo bench test test-slow test-llm test-pythons lint docs dev clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# `build/` would carry deleted modules into the wheel.
$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	rm -rf build
	$(PIP) ".[report]"
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(PIP) ".[all,test]"
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) ".[lint]"
	@touch $@

demo: $(VENV)/.installed  ## trade the sample data (or DATA=file.csv.gz) and draw the result to demo.png
	$(BIN)/ai-backtrader demo $(if $(DATA),--data $(DATA)) --plot demo.png $(ARGS)

test: $(VENV)/.test  ## the tests, against the installed wheel
	$(BIN)/pytest -n auto -m "not slow" $(ARGS)

test-slow: $(VENV)/.test  ## the longer checks
	$(BIN)/pytest -n auto -m slow $(ARGS)

test-llm: $(VENV)/.test  ## the checks that ask a real model (AI_BACKTRADER_LLM_URL, AI_BACKTRADER_LLM_MODEL)
	$(BIN)/pytest -m llm tests/llm_advisor $(ARGS)

test-pythons:  ## the tests under each of PYTHONS that is installed
	@found=; for python in $(PYTHONS); do \
	  $$python --version 2>/dev/null || continue; found=yes; \
	  $(MAKE) test PYTHON=$$python VENV=.venv-$$(basename $$python) || exit 1; \
	done; test -n "$$found" || { echo "not installed: $(PYTHONS)" >&2; exit 1; }

bench: $(VENV)/.test  ## the benchmarks: ratios side by side, growth and memory (slow)
	$(BIN)/python benchmarks/broker_overhead.py --growth
	$(BIN)/python benchmarks/strategy_speed.py --growth
	$(BIN)/python benchmarks/evolution_speed.py
	$(BIN)/python benchmarks/parameter_search.py
	$(BIN)/python benchmarks/environment_speed.py
	$(BIN)/python benchmarks/dqn_speed.py
	$(BIN)/python benchmarks/cartpole.py
	$(BIN)/python benchmarks/database_speed.py
	$(BIN)/python benchmarks/drift_detection.py --quick
	$(BIN)/python benchmarks/online_learner_speed.py

lint: $(VENV)/.lint  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.lint  ## the documentation site, to build/site; a broken link or a warning fails
	$(PIP) ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dev: $(BIN)/python  ## the same environment with the package editable
	$(PIP) --editable ".[all,test,lint]"

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info
