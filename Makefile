# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
BIN := .venv/bin
# A checkpoint of your own for `make demo`.
CHECKPOINT ?=
# Set to 1 for a short `make bench`.
QUICK ?=

.PHONY: help demo test test-all lint format bench clean

help:
	@echo "make demo [CHECKPOINT=path]   convert a slim checkpoint and verify every endpoint against the slim graph"
	@echo "make test                     the tests; make test-all adds those that take minutes each"
	@echo "make lint | make format       check the style and the types, or mend the style"
	@echo "make bench [QUICK=1]          measure, side by side; results in benchmarks/results"

.venv/%.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[$*]'
	@touch $@

demo: .venv/oracle.installed
	$(BIN)/python -m examples.demo $(CHECKPOINT)

test: .venv/test.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long"

test-all: .venv/test.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/lint.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/lint.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/bench.installed
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
