# Every target makes its own environment when there is none: `make demo` and `make test` need nothing first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env demo test stress lint format download-data bench docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

env: $(STAMP)  ## make the environment (.venv) from pyproject.toml and the pinned constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about 3 minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## the main job on embedded weights and drawn images: no account, no hub, no data download
	$(BIN)/hamcache demo

test: lint  ## lint, then the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# STRESS='--quick' for two minutes, '--only kills' for one kind; python -m tests.stress --help has all.
stress: $(STAMP)  ## kills, damages, full disks, lost clusters, fuzzing: at most 20 minutes, ends in a table
	$(BIN)/python -m tests.stress --out build/stress $(STRESS)

# mypy does not follow an editable install: it is shown the package as links to the folders.
lint: $(STAMP)  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .types/hamcache
	@ln -sfn $(addprefix ../../,$(wildcard hamcache/*.py) hamcache/py.typed cache configs data extract heads pipeline) .types/hamcache
	MYPYPATH=.types $(BIN)/mypy -p hamcache -p benchmarks

format: $(STAMP)  ## let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

download-data: $(STAMP)  ## fetch HAM10000 into the workspace
	$(BIN)/hamcache download

# BENCH='--quick' for two minutes, '--only train' for one, '--images FOLDER' for your own pictures.
bench: $(STAMP)  ## speed beside floors and beside what people use: at most 15 minutes, ends in a table
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(STAMP)  ## the site: guides, every command, the Python classes; into build/site, without network
	$(BIN)/python -m sphinx -W --keep-going -qE -d build/doctrees docs build/site
	@echo "Open build/site/index.html"

clean:  ## remove caches and build leftovers (keeps .venv and workspace)
	rm -rf .types build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
