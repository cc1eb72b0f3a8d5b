# `make train` and `make test` do everything on a fresh machine: virtual environment, installation, then the job.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-slow lint format clean

train: .venv/installed
	$(BIN)/python -m st_reid.train --arch psta $(ARGS)

test: .venv/installed
	$(BIN)/python -m pytest $(ARGS)

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy st_reid

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test,dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
