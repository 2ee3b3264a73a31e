# music: set up, learn from the bundled corpus for three minutes and compose four pieces into out/
# test:  set up and run lint, types and tests

PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 3
BIN := $(VENV)/bin

.PHONY: music test lint types unit clean

music: $(VENV)/.train
	$(BIN)/cadenza run --bundled --minutes $(MINUTES) --out out

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/python -m pytest

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,web,dev]'
	touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache
