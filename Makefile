# `make train` and `make test` do everything on a fresh machine: virtual environment, installation, then the job.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-slow test-wheel coverage lint audit format docs clean

train: .venv/installed
	$(BIN)/python -m st_reid.train --arch psta $(ARGS)

test: .venv/installed
	$(BIN)/python -m pytest $(ARGS)

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow $(ARGS)

test-wheel: .venv/installed
	$(BIN)/python -m pytest -n 0 -m wheel $(ARGS)

coverage: .venv/installed
	$(BIN)/python -m pytest $(ARGS) --cov

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy st_reid
	$(BIN)/lint-imports --no-logo

# Published holes in what is installed, and in the lowest versions that setup.cfg permits. It asks a database.
audit: .venv/installed
	test -x $(BIN)/pip-audit || $(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable
	$(BIN)/pip-audit --requirement requirements/lowest.txt --no-deps --disable-pip

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The website, into site/. --strict makes an error of every warning, such as a link that leads nowhere.
docs: .venv/installed
	test -x $(BIN)/mkdocs || $(BIN)/pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

# The version, which st_reid/__init__.py has, is part of what is installed.
.venv/installed: setup.cfg setup.py pyproject.toml st_reid/__init__.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test,dev]'
	touch $@

clean:
	rm -rf .venv build dist site htmlcov .coverage* *.egg-info
