PYTHON ?= python3
DOMAIN ?= finance
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# demo: a project from the first step to an approved release   test: everything   test-fast: a little of every room,
# in a minute and a half; for while one works   lint   format   docs: the site   pictures: those in the docs   clean
.PHONY: demo test test-fast lint format docs pictures clean

demo: .venv/installed
	@$(BIN)/sdk run demo/$(DOMAIN) --domain $(DOMAIN) --play-approver

test: .venv/installed-dev
	$(BIN)/python -m pytest

test-fast: .venv/installed-dev
	$(BIN)/python -m pytest -m "not slow" --durations=5

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: .venv/installed-dev
	$(BIN)/python -m tools.pictures

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv; about 2.3 GB and two to three minutes the first time."
	$(BIN)/pip install --quiet --no-compile --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv, with what tests need; about 2.4 GB and two to three minutes the first time."
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	@touch $@ .venv/installed

clean:
	rm -rf .venv demo site dist
