# `make demo` and `make test` need nothing but Python 3.11 or newer and make.
PYTHON ?= python3
# Where torch's wheel comes from, if not from PyPI: https://download.pytorch.org/whl/cpu for the small CPU build.
TORCH_INDEX ?=
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test faults check audit format clean

demo: $(STAMP)
	$(BIN)/python sweeps/main_grid.py --preset demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

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

# Known advisories of what is installed; says "not audited" where their service can't be asked.
audit: $(STAMP)
	$(BIN)/python .ci/audit.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv

# torch goes first: its wheel decides between the CPU and the CUDA build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,dev]"
	touch $(STAMP)
