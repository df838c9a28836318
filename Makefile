# make up      start everything: broker, database, gateway, API and a small simulated plant; Ctrl-C stops it
# make test    the tests of every part, against servers of their own    make test ARGS="-k lag -x"
# make test-system   tests of whole plants: kills, backups, upgrades, pages as printed    ARGS as above
# make coverage      make test with coverage measured in all processes, and the floors of schema, gateway and api
# make check   style, types, import rules, the API's contract
# make openapi docs/openapi.json as the code has it now     ARGS=--break to allow what clients can notice
# make lock    renew the locks of all Python packages and say what changed    ARGS=--keep for what pyproject.toml asks alone
# make faults  torment a plant for 25 minutes and account for every frame: docs/faults.md   ARGS=--list, ARGS=--quick
# make bench   how fast it all is, in 15 minutes: docs/performance.md     ARGS="--only B1,B5", ARGS=--quick, ARGS=--full
# make notebook  copy the tutorial for Python into notebooks/ and say how to open it: docs/python.md   ARGS=FOLDER
# make image   build the image of deploy/Dockerfile without Docker, and try it: docs/compose.md
# make clean   remove everything that the others made
#
# Each makes ready what it needs: .venv and, under .stack, the servers. PYTHON=python3.12 chooses an interpreter.

PYTHON ?= python3
ARGS ?=
# Compiled modules are kept, and kept apart: without them the tests' processes would compile for half of their time.
PYTEST = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/.stack/pycache \
	.venv/bin/python -m tests.in_memory .venv/bin/python $(MEASURED) -m pytest -n 4
export COVERAGE_FILE = $(CURDIR)/.stack/coverage

.PHONY: up test test-system coverage unmeasured check openapi lock faults bench notebook image clean ready browser python

up: ready
	@.venv/bin/biogate up $(ARGS)

test: ready
	@$(PYTEST) --dist worksteal --ignore tests/system $(ARGS)

test-system: browser
	@$(PYTEST) --dist loadfile --no-loadscope-reorder --override-ini testpaths=tests/system $(ARGS)

coverage: MEASURED = -m coverage run
coverage: unmeasured test
	@.venv/bin/coverage combine --quiet
	@.venv/bin/coverage report --include "schema/*" --fail-under 90
	@.venv/bin/coverage report --include "gateway/*" --fail-under 90
	@.venv/bin/coverage report --include "api/*" --fail-under 90

unmeasured: ready
	@.venv/bin/coverage erase

check: ready
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m tests.openapi
	.venv/bin/python -m deploy.lock --check
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml

openapi: ready
	@.venv/bin/python -m tests.openapi --write $(ARGS)

lock: python
	@$(PYTHON) -m deploy.lock $(ARGS)

faults: ready
	@.venv/bin/python -m tests.faults $(ARGS)

bench: ready
	@.venv/bin/python -m tests.bench $(ARGS)

notebook: ready
	@.venv/bin/python -m deploy.notebook $(ARGS)

image:
	@deploy/image-check.sh

clean: python
	@$(PYTHON) -m deploy.clean

ready: python
	@$(PYTHON) -m deploy.bootstrap

browser: python
	@$(PYTHON) -m deploy.bootstrap browser

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Biogate needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ": make PYTHON=... names another")'
