# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
BIN := .venv/bin
# A checkpoint of your own for `make demo`.
CHECKPOINT ?=
# Set to 1 for a short `make bench`.
QUICK ?=
# A section, for `make bench` of that one alone.
ONLY ?=

.PHONY: help demo test test-all seconds test-jax test-torch test-backends test-transformers test-oldest test-newest test-versions lint format docs bench clean

help:
	@echo "make demo [CHECKPOINT=path]   convert a slim checkpoint and verify every endpoint against the slim graph"
	@echo "make test                     the tests that are quick, in minutes"
	@echo "make test-all                 all tests; fails if they run less than 95 % of the lines"
	@echo "make test-backends            a sample on JAX and on PyTorch, each without TensorFlow, in .venv-jax and .venv-torch"
	@echo "make test-transformers        models that transformers makes and runs, in .venv-transformers"
	@echo "make test-versions            the same also with the oldest versions and with the newest Python"
	@echo "make lint | make format       check the style and the types, or mend the style"
	@echo "make docs                     the site of the documentation, in site/"
	@echo "make bench [QUICK=1] [ONLY=jobs]  measure, side by side; results in benchmarks/results"

# Two processes, each of which takes whole files, in the order of tests/conftest.py.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.venv/%.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[$*]'
	@touch $@

demo: .venv/oracle.installed
	$(BIN)/python -m examples.demo $(CHECKPOINT)

test: .venv/test.installed
	$(BIN)/python -m pytest $(TWO) -m "not slow"

# All tests, and the share of lines that they run. The second call checks it: in the first, `--fail-under` would print
# the table without the lines that pytest's two processes ran.
test-all: .venv/coverage.installed
	$(BIN)/python -m slipcover --json --out .coverage.json -m pytest $(TWO)
	$(BIN)/python -m slipcover --merge .coverage.json --out .coverage.json --fail-under 95

# All tests, on a quiet machine: writes the seconds that decide what `make test` runs.
seconds: .venv/test.installed
	$(BIN)/python -m pytest $(TWO) --record-seconds

# Environments without TensorFlow. PyTorch's build for CUDA is several GB: PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS may name
# a place with one for CPUs, and TORCH a version that is there.
TORCH ?= torch>=2.2,<2.14
.venv-jax/installed: BACKEND := jax>=0.4.28
.venv-torch/installed: BACKEND := $(TORCH)
.venv-jax/installed .venv-torch/installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --editable . '$(BACKEND)' 'pytest>=8'
	@touch $@

test-jax test-torch: test-%: .venv-%/installed
	KERAS_BACKEND=$* .venv-$*/bin/python -m pytest tests/test_backends.py

test-backends: test-jax test-torch

.venv-transformers/installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --editable '.[test]' '$(TORCH)' 'transformers>=4.40'
	@touch $@

test-transformers: .venv-transformers/installed
	.venv-transformers/bin/python -m pytest tests/test_export_transformers.py tests/test_checkpoints_transformers.py

# The lowest versions of pyproject.toml, and the newest Python for which TensorFlow has wheels.
PYTHON_OLDEST ?= python3.10
PYTHON_NEWEST ?= python3.13
SAMPLE := tests/test_backends.py tests/test_old_keras.py

.venv-oldest/installed: pyproject.toml
	$(PYTHON_OLDEST) -m venv $(@D)
	$(@D)/bin/pip install --quiet --editable . 'tensorflow==2.16.2' 'keras==3.5.0' 'numpy==1.26.*' 'pytest>=8'
	@touch $@

.venv-newest/installed: pyproject.toml
	$(PYTHON_NEWEST) -m venv $(@D)
	$(@D)/bin/pip install --quiet --editable '.[tensorflow]' 'pytest>=8'
	@touch $@

test-oldest test-newest: test-%: .venv-%/installed
	.venv-$*/bin/python -m pytest $(SAMPLE)

test-versions: test-backends test-oldest test-newest

# An environment of its own, without TensorFlow: only what checks the style and the types.
.venv-lint/installed: pyproject.toml
	$(PYTHON) -m venv .venv-lint
	.venv-lint/bin/pip install --quiet 'ruff>=0.6' 'mypy>=1.11' numpy types-requests
	@touch $@

lint: .venv-lint/installed
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/mypy

format: .venv-lint/installed
	.venv-lint/bin/ruff check --fix .
	.venv-lint/bin/ruff format .

.venv-docs/installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --editable . 'mkdocs-material>=9.5' 'mkdocstrings[python]>=0.26'
	@touch $@

# The site in site/, from docs/ and from the docstrings and commands; warnings are errors.
docs: .venv-docs/installed
	.venv-docs/bin/python -m docs.make_pages
	.venv-docs/bin/mkdocs build --strict --quiet

bench: .venv/bench.installed
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf .venv .venv-lint .venv-docs .venv-jax .venv-torch .venv-transformers .venv-oldest .venv-newest site site-pages build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage.json
