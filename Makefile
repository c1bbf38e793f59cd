# `make demo` and `make test` need nothing but Python 3.11 or newer and make.
PYTHON ?= python3
# Where torch's wheel comes from, if not from PyPI: https://download.pytorch.org/whl/cpu for the small CPU build.
TORCH_INDEX ?=
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
# Triton's interpreter, in which tests run the GPU's kernels: a wheel of 200 MB that the demo does without.
TRITON_STAMP := .venv/.installed-triton
# Not empty: the wheel's test takes the libraries from .venv, which saves minutes and gigabytes.
QUICK ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-fast faults check docs wheel-test audit format clean

demo: $(STAMP)
	$(BIN)/tunekit run --preset demo

test: $(TRITON_STAMP)
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

# The inner loop: the tests that need no Ray and no real model's weights and take no more than seconds.
test-fast: $(TRITON_STAMP)
	$(BIN)/python -m pytest -n 2 -m "not faults and not ray and not model and not slow"

# Tests that kill processes and wait for minutes; what they measure goes into docs/reliability.md.
faults: $(STAMP)
	rm -rf .faults
	$(BIN)/python -m pytest -m faults
	$(BIN)/python -m pytest tests/faults
	$(BIN)/python -m tests.support.fault_table

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site in site/: the pages of docs/ and an API reference from the docstrings; a broken link is an error.
docs: $(DOCS_STAMP)
	$(BIN)/python -m mkdocs build --strict

# The wheel in an environment of its own, away from this checkout: a sweep, its report and the notebook.
wheel-test: $(STAMP)
	TORCH_INDEX="$(TORCH_INDEX)" $(BIN)/python .ci/wheel_test.py $(if $(QUICK),--quick)

# Known advisories of what is installed; says "not audited" where their service can't be asked.
audit: $(STAMP)
	$(BIN)/python .ci/audit.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv site

# torch goes first: its wheel decides between the CPU and the CUDA build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) -e ".[demo,dev]"
	touch $(STAMP)

$(TRITON_STAMP): $(STAMP)
	$(PIP) -e ".[triton]"
	touch $(TRITON_STAMP)

$(DOCS_STAMP): $(STAMP)
	$(PIP) -e ".[docs]"
	touch $(DOCS_STAMP)
