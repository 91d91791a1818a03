# Requires Python 3.11 or later, and make. PYTHON, VENV, CONSTRAINTS, PYTEST_ARGS and PROCESSES may be set: make test PYTEST_ARGS="-k topk".
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do $$p -c '$(IS_RECENT)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
LOWEST := .make/lowest
# Tests that compare committed files with what the pinned versions generate.
GENERATED := tests/unit/service/http/test_api.py::test_the_description_of_the_api_is_the_committed_one \
	tests/unit/service/atlas/test_pages.py::test_the_published_schema_is_the_pages_own
IS_RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTEST_ARGS ?=
COVERAGE ?=
PROCESSES ?= 3
# Tests run side by side, three at a time even on two cores, since many wait for processes that they start. Those of one file stay
# together, because they share what the file has set up. At most three of the tests that start Ray or a browser run at the same
# time: they have time limits.
GROUPED := --dist=loadfile --no-loadscope-reorder
SIDE_BY_SIDE := -n $(PROCESSES) $(GROUPED)
STARTING := tests/chaos $(patsubst %,tests/integration/test_%.py,installed same_answer submitted) tests/browser \
	tests/integration tests/property tests/engines
WHOLE_RUNS := $(patsubst %,tests/integration/test_%.py,same_answer killed truth)
STAMP := $(VENV)/.installed
PEERS := .make/peers
PEERS_STAMP := $(PEERS)/.installed

ENGINES := .make/engines

DOCS := .make/docs
DOCS_STAMP := $(DOCS)/.installed
AUDIT := .make/audit
AUDITORS := bandit==1.9.4 pip-audit==2.10.1

.PHONY: help setup demo test check format lint types audit coverage lock lowest bench engines docs soak clean

help:
	@echo "make demo    scan photographs of scikit-image and scikit-learn with the bundled network, into deconvoy-demo/"
	@echo "make test    run all tests but the slow ones (make check also checks format, lint and types)"
	@echo "make setup   only create $(VENV), with the command bin/deconvoy; CONSTRAINTS=/dev/null installs the newest versions"
	@echo "make audit   check the code, and the packages in constraints.txt, for vulnerabilities"
	@echo "make coverage  print the share of lines that the unit tests run"
	@echo "make lock    upgrade $(VENV), and write its versions to constraints.txt"
	@echo "make lowest  run the unit tests with the lowest versions that pyproject.toml allows"
	@echo "make bench   measure the scan against other tools, and write docs/benchmarks.md; FULL=1 takes longer"
	@echo "make engines run the views and the dashboard in Spark and Superset, which it installs (1.6 GB; Spark needs Java 17)"
	@echo "make docs    build the documentation site into .make/site"
	@echo "make soak    run the slow tests;  make clean   remove generated files"

setup: $(STAMP)

# Runs again only if pyproject.toml or the constraints have changed. torch is named here too, so that pip resolves it first.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(IS_RECENT)' || { echo "Deconvoy needs Python 3.11 or later: make setup PYTHON=..."; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): several minutes and 6 GB the first time, most of it torch"
	@$(VENV)/bin/python -m pip install --quiet -c $(CONSTRAINTS) "torch>=2.10,<3" "torchvision>=0.25" -e ".[demo,dev]"
	@touch $(STAMP)

demo: setup
	$(VENV)/bin/deconvoy demo --root deconvoy-demo

test: setup
	$(VENV)/bin/python -m pytest -q -m "not slow" $(SIDE_BY_SIDE) --durations=15 $(COVERAGE) tests/unit tests/model \
		$(PYTEST_ARGS) \
		|| test $$? = 5  # 5: there are none
	$(VENV)/bin/python -m pytest -q -m "not slow" -n 3 $(GROUPED) --durations=15 $(STARTING) $(PYTEST_ARGS) \
		|| test $$? = 5
	@echo "make test: all tests passed (the slow ones: make soak)"

check: format lint types test

format: setup
	$(VENV)/bin/ruff format --check .

lint: setup
	$(VENV)/bin/ruff check .

types: setup
	$(VENV)/bin/mypy

# Uses a separate environment. pip-audit asks PyPI; without an answer it reports that, and nothing fails.
audit: setup
	$(VENV)/bin/python -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet $(AUDITORS)
	$(AUDIT)/bin/bandit --quiet --recursive -ll -ii deconvoy jobs service workers
	$(VENV)/bin/python -m tests.support.audited $(AUDIT)/bin/pip-audit constraints.txt

# Not part of `make test`, because counting lines makes the tests slower; `.ci/run` does both at once.
coverage: setup
	-$(VENV)/bin/python -m pytest -q -m "not slow" $(SIDE_BY_SIDE) --cov --cov-report= tests/unit $(PYTEST_ARGS)
	@echo "coverage of the unit tests: $$($(VENV)/bin/python -m coverage report --format=total) % of lines"

# Writes the installed versions to constraints.txt. Run `make check` afterwards, and commit only if it passes.
lock: setup
	$(VENV)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager "torch>=2.10,<3" "torchvision>=0.25" -e ".[demo,dev]"
	@{ grep '^#' constraints.txt; $(VENV)/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' \
		| grep -Ev '^(nvidia-|cuda-|triton=)'; } > constraints.new && mv constraints.new constraints.txt
	@touch $(STAMP)

# Uses a separate environment, made by uv, because pip cannot choose the lowest versions. Old packages use functions that new ones
# have deprecated; that is no error here.
lowest: setup
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/uv venv --quiet --allow-existing --python $(VENV)/bin/python $(LOWEST)
	$(VENV)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct $(UV_ARGS) -e ".[demo,dev]" setuptools
	$(LOWEST)/bin/python -m pytest -q -m "not slow" -W default::DeprecationWarning tests/unit \
		$(GENERATED:%=--deselect %) $(PYTEST_ARGS)

bench: $(PEERS_STAMP)
	$(PEERS)/bin/python -m tests.benchmarks $(if $(FULL),--full)

# An environment of its own for what the scan is measured against. It uses the packages of $(VENV), such as torch.
$(PEERS_STAMP): $(STAMP) tests/benchmarks/peers.txt
	$(VENV)/bin/python -m venv $(PEERS)
	$(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$(echo $(PEERS)/lib/python3*/site-packages)/shared.pth
	$(PEERS)/bin/python -m pip install --quiet -r tests/benchmarks/peers.txt
	@touch $(PEERS_STAMP)

engines: setup $(ENGINES)/spark/.installed $(ENGINES)/superset/.installed
	DECONVOY_SPARK=$(ENGINES)/spark/bin/python DECONVOY_SUPERSET=$(ENGINES)/superset/bin/python \
		$(VENV)/bin/python -m pytest -q tests/engines $(PYTEST_ARGS)

# Environments of their own: Superset needs old versions of packages.
$(ENGINES)/%/.installed: tests/engines/%.txt
	$(PYTHON) -m venv $(ENGINES)/$*
	$(ENGINES)/$*/bin/pip install --quiet -r tests/engines/$*.txt
	@touch $@

docs: $(DOCS_STAMP)
	$(DOCS)/bin/mkdocs build --strict --quiet
	@echo "the site is in .make/site: open .make/site/index.html"

# An environment of its own: no other part needs MkDocs.
$(DOCS_STAMP): deploy/site/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet -r deploy/site/requirements.txt
	@touch $(DOCS_STAMP)

soak: setup
	$(VENV)/bin/python -m pytest -q -m slow $(PYTEST_ARGS) || test $$? = 5  # 5: there are none
	DECONVOY_TEST_ENGINE=compiled $(VENV)/bin/python -m pytest -q $(WHOLE_RUNS) $(PYTEST_ARGS) || test $$? = 5

# Keeps the virtual environment, because creating one takes minutes. Remove it with rm -r $(VENV).
clean:
	rm -rf deconvoy-demo dist build .make .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find workers jobs service deconvoy tests -name __pycache__ -type d -prune -exec rm -rf {} +
