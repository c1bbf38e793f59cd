# `make demo` and `make test` need nothing but make and Python 3.11 to 3.14, with venv or uv.
PYTHON ?= python3
# The package index of torch. Empty: .ci/install takes the build for the CPU where there is no NVIDIA driver.
TORCH_INDEX ?=
export PYTHON TORCH_INDEX
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
TRACKERS_STAMP := .venv/.installed-trackers
# Triton's interpreter, in which tests run the GPU's kernels: a wheel of 200 MB that the demo does without.
TRITON_STAMP := .venv/.installed-triton
# Not empty: the wheel's test takes the libraries from .venv, which saves minutes and gigabytes.
QUICK ?=

.PHONY: demo test test-fast contracts faults gpu-tests trackers pictures check docs wheel-test audit format clean

demo: $(STAMP)
	$(BIN)/tunekit run --preset demo

# Three processes for two cores: one of them waits for Ray most of the time.
test: $(TRITON_STAMP)
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

# The inner loop: the tests that need no Ray and no real model's weights, and take a fraction of a second each.
test-fast: $(TRITON_STAMP)
	$(BIN)/python -m pytest -n 2 -m "not faults and not gpu and not contracts and not ray and not model and not slow"

# Every model with every method on every task, of which `make test` takes some that show every pair or value, and the
# cases of other tests that pass through the same code as a case that `make test` takes.
contracts: $(TRITON_STAMP)
	$(BIN)/python -m pytest -m contracts --ignore tests/contract
	$(BIN)/python -m pytest -m "not faults and not gpu" tests/contract

# Tests that kill processes and wait for minutes; what they measure goes into docs/reliability.md.
faults: $(STAMP)
	rm -rf .faults
	$(BIN)/python -m pytest -m faults
	$(BIN)/python -m pytest tests/faults
	$(BIN)/python -m tests.support.fault_table

# What only a GPU can show. The environment needs torch's build for CUDA.
gpu-tests: $(TRITON_STAMP)
	$(BIN)/python -m pytest -m gpu tests/gpu

# Each tracker with its own client, Weights & Biases among them, which the other tests leave out.
trackers: $(TRACKERS_STAMP)
	$(BIN)/python -m pytest tests/trackers

# The pictures of docs/watch.md, taken in Chromium by the tests of what they show.
pictures: $(STAMP)
	TUNEKIT_PICTURES=docs/pictures $(BIN)/python -m pytest -m "faults or slow" tests/commands/test_watched_run.py \
		tests/search/test_dashboard.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site in site/: the pages of docs/ and an API reference from the docstrings; a broken link is an error.
docs: $(DOCS_STAMP)
	$(BIN)/python -m mkdocs build --strict

# The wheel in an environment of its own, away from this checkout: a sweep, its report and the notebook.
wheel-test: $(STAMP)
	$(BIN)/python .ci/wheel_test.py $(if $(QUICK),--quick)

# Known advisories of what is installed; says "not audited" where their service can't be asked.
audit: $(STAMP)
	$(BIN)/python .ci/audit.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv site

$(STAMP): pyproject.toml constraints.txt .ci/install
	.ci/install .venv constraints.txt -e ".[demo,dev]"
	touch $(STAMP)

$(TRITON_STAMP): $(STAMP)
	.ci/install .venv constraints.txt -e ".[triton]"
	touch $(TRITON_STAMP)

$(DOCS_STAMP): $(STAMP)
	.ci/install .venv constraints.txt -e ".[docs]"
	touch $(DOCS_STAMP)

$(TRACKERS_STAMP): $(STAMP)
	.ci/install .venv constraints.txt -e ".[tracking]"
	touch $(TRACKERS_STAMP)
