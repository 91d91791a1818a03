# Python 3.11 and make are all that this needs. PYTHON and VENV may be set.
PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint check clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet "torch>=2.10,<3" "torchvision>=0.25" -e ".[demo,dev]"
	touch $(STAMP)

demo: setup
	$(VENV)/bin/deconvoy demo --root deconvoy-demo

test: setup
	$(VENV)/bin/python -m pytest -q

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

check: lint test

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
