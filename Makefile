# Everything a person types. `make setup` is safe to repeat: what is done is skipped.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow bench datasets pretrained lint types clean
BIN := .venv/bin
# Where `make datasets` puts them, and which of datasets/*.yaml it makes.
DATASETS ?= $${XDG_CACHE_HOME:-$$HOME/.cache}/memflux/datasets
NAMES ?= $(basename $(notdir $(wildcard datasets/*.yaml)))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "  variables: PYTHON=, PETSC_DIR= and PETSC_ARCH=, MEMFLUX_PETSC=no, MEMFLUX_TORCH= (see scripts/setup.sh)"

setup: ## set everything up in .venv (first time: about ten minutes, of which PETSc most)
	@bash scripts/setup.sh

demo: setup ## from a device to a report in runs/demo, on a local Ray
	$(BIN)/python examples/01_device_to_report.py --out runs/demo

test: setup ## the tests, but for the slow ones
	$(BIN)/python -m pytest -m "not slow and not ray" -n auto --maxprocesses 8 --dist loadfile
	$(BIN)/python -m pytest -m "ray and not slow"

test-slow: setup ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

bench: setup ## every claim with its bar; writes benchmarks/results and docs/benchmarks.md
	set -e; for script in $$(grep -l harness.run benchmarks/*.py | grep -v harness.py); do $(BIN)/python $$script; done
	$(BIN)/python benchmarks/page.py

datasets: setup ## the published data sets, into ~/.cache/memflux/datasets; again: go on (NAMES="2d 9d", DATASETS=)
	set -e; for name in $(NAMES); do $(BIN)/memflux campaign run datasets/$$name.yaml --out "$(DATASETS)/$$name"; done

pretrained: setup ## the surrogates that ship with the package, from their data sets (half an hour each; NAMES=9d)
	$(BIN)/python benchmarks/pretrained.py $(if $(filter command line,$(origin NAMES)),$(NAMES))

lint: setup ## style and layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: setup ## static types
	$(BIN)/mypy

clean: ## remove .venv and caches; runs/ stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
