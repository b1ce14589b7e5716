# Legible: what a developer and the continuous integration run.
#   make demo    set up .venv and read a story with the built-in pair
#   make test    set up .venv and run the tests
SHELL := /bin/bash
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

LOWEST := .venv-lowest

.PHONY: help setup demo test test-slow test-lowest check wheel format docs bench

help:
	@echo "make setup      create .venv (CPU torch, or CUDA where there is an NVIDIA GPU)"
	@echo "make demo       read a story with the built-in pair: a few readings and why, and a report"
	@echo "make test       the tests (minutes on 2 cores)"
	@echo "make test-slow  every test, the slow ones included"
	@echo "make test-lowest  a part of the tests with the lowest versions that pyproject.toml allows, in .venv-lowest"
	@echo "make wheel      build dist/*.whl and check it"
	@echo "make check      lint, format, types, generated documents"
	@echo "make format     format the code"
	@echo "make docs       write docs/cli.md and what the examples of docs/python.md print"
	@echo "make bench      the benchmarks; each ends with one JSON line"

setup:
	@bash scripts/setup.sh

demo: setup
	@$(BIN)/legible demo

test: setup
	$(PYTEST)

test-slow: setup
	$(PYTEST) -m "slow or not slow"

# The old versions warn of what the new ones have changed: warnings are no errors here.
test-lowest: setup
	@mkdir -p $(LOWEST)
	@$(BIN)/python scripts/lowest.py > $(LOWEST)/lowest.txt
	@LEGIBLE_VENV=$(LOWEST) LEGIBLE_CONSTRAINTS=$(LOWEST)/lowest.txt LEGIBLE_EXTRAS=test bash scripts/setup.sh
	$(LOWEST)/bin/python -m pytest -W ignore tests/unit tests/pipeline/test_models.py tests/pipeline/test_roles.py \
	  tests/pipeline/test_gguf.py tests/pipeline/test_adapters.py tests/pipeline/test_read.py tests/pipeline/test_steer.py

wheel: setup
	$(BIN)/python scripts/check_wheel.py dist

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/cli_reference.py --check
	$(BIN)/python scripts/check_wheel.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python scripts/cli_reference.py
	$(BIN)/python scripts/run_examples.py

bench: setup
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done
