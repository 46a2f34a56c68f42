# `make help` lists what can be made. PYTHON chooses the interpreter of the virtual environment.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help install run test lint format types bench testbed studies notebooks docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

install: $(READY)  ## make the virtual environment and install simfl with its tools

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

run: $(READY)  ## synchronous against buffered learning on the same phones, and a picture
	$(BIN)/simfl run quickstart-sync --out runs/quickstart-sync
	$(BIN)/simfl run quickstart --out runs/quickstart
	$(BIN)/simfl compare runs/quickstart-sync runs/quickstart --target accuracy=0.95
	$(BIN)/simfl plot runs/quickstart staleness-by-class -o runs/staleness.png
	$(BIN)/python docs/images/quickstart.py

test: $(READY)  ## every test but the long studies
	$(BIN)/python -m pytest -n 2

lint: $(READY)  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## put style and formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)  ## static types
	$(BIN)/mypy

bench: $(READY)  ## every benchmark, one after the other
	set -e; for file in benchmarks/*.py; do $(BIN)/python $$file; done

testbed: $(READY)  ## a Flower deployment on this machine, measured and predicted; needs root
	$(BIN)/python benchmarks/testbed/testbed.py

studies: $(READY)  ## the long comparisons of methods; writes docs/results
	set -e; for file in benchmarks/studies/*.py; do $(BIN)/python $$file; done
	$(BIN)/python -m pytest -m study

notebooks: $(READY)  ## play the notebooks and keep their output
	$(BIN)/python notebooks/play.py

docs: $(READY)  ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:  ## remove what tools and builds leave behind; runs/ stays
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
