.PHONY: install demo serve test lint types check bench bench-claims
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[finetune,eval,scale,trace,dev]'
	$(BIN)/groundtune models fetch
	touch $@

demo: install    ## the whole story on the sample company
	$(BIN)/groundtune demo

serve: install   ## the HTTP service and the page, on the demo's workspace
	GROUNDTUNE_HOME=.groundtune/demo $(BIN)/groundtune --config examples/tarnfell/groundtune.toml serve

test: install    ## all tests, the real small models among them, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

check: lint types test   ## all that must hold before a change lands

bench: install   ## speed as ratios against the raw libraries
	$(BIN)/python -m tests.bench

bench-claims: install   ## what full tuning, LoRA and QLoRA take: measured here, computed for 7B to 70B
	$(BIN)/python -m tests.bench.claims
