.PHONY: help train test lint format benchmark clean
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

train: .venv/.installed  ## install, then train a GAN on handwritten digits (ARGS="..." overrides any key)
	$(BIN)/python scripts/train.py $(ARGS)

test: .venv/.installed  ## install, then run the tests
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/.installed  ## install, then ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/.installed  ## reformat the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmark: .venv/.installed  ## install, then time a training step against a hand-written loop
	$(BIN)/python scripts/benchmark.py step

clean:  ## remove the environment and caches, never runs/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

# PIP_CONSTRAINT holds for build environments too, and takes the place of one set for the whole machine
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
