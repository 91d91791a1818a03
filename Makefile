# Python 3.11 and make are all that this needs. PYTHON, VENV and PYTEST_ARGS may be set: make test PYTEST_ARGS="-k topk".
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do $$p -c '$(IS_RECENT)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
IS_RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTEST_ARGS ?=
STAMP := $(VENV)/.installed
BENCHMARKS := $(patsubst tests/benchmarks/%.py,%,$(wildcard tests/benchmarks/[a-z]*.py))

.PHONY: help setup demo test check format lint types bench soak clean

help:
	@echo "make demo    scan the embedded photographs with the embedded network, draw its channels in deconvoy-demo/"
	@echo "make test    run every test (make check: format, lint and types before it)"
	@echo "make setup   only make $(VENV), whose bin/deconvoy is the command"
	@echo "make bench   print speeds and memory;  make soak   run the slow tests;  make clean   remove what was made"

setup: $(STAMP)

# Only again when pyproject.toml has changed. torch is named here too so that pip settles it first.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(IS_RECENT)' || { echo "Deconvoy needs Python 3.11 or later: make setup PYTHON=..."; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): several minutes and 6 GB the first time, most of it torch"
	@$(VENV)/bin/python -m pip install --quiet "torch>=2.10,<3" "torchvision>=0.25" -e ".[demo,dev]"
	@touch $(STAMP)

demo: setup
	$(VENV)/bin/deconvoy demo --root deconvoy-demo

test: setup
	$(VENV)/bin/python -m pytest -q -m "not slow" $(PYTEST_ARGS)
	@echo "make test: every test passed"

check: format lint types test

format: setup
	$(VENV)/bin/ruff format --check .

lint: setup
	$(VENV)/bin/ruff check .

types: setup
	$(VENV)/bin/mypy

bench: setup
	@for name in $(BENCHMARKS); do echo "== $$name"; $(VENV)/bin/python -m tests.benchmarks.$$name || exit 1; done

soak: setup
	$(VENV)/bin/python -m pytest -q -m slow $(PYTEST_ARGS) || test $$? = 5  # 5: there are none

# The virtual environment stays: making it takes minutes. rm -r $(VENV) removes it.
clean:
	rm -rf deconvoy-demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find workers jobs service deconvoy tests -name __pycache__ -type d -prune -exec rm -rf {} +
