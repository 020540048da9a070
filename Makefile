# The two set-up commands: `make demo` trains on the bundled digits, `make test` runs the tests. Both make .venv first.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo check test test-slow lint audit format bench clean

demo: .venv/installed
	$(BIN)/python -m src.train model=resnet20 data=digits

# Before each commit: lint and the quick tests, 90 seconds at most.
check: lint
	$(BIN)/python -m pytest @tests/quick.txt

# Ten minutes at most.
test: .venv/installed
	$(BIN)/python -m pytest

test-slow: .venv/installed
	$(BIN)/python -m pytest -m "slow and not gpu" --durations=30

lint: .venv/installed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv/installed
	$(BIN)/python tests/audit.py

format: .venv/installed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: .venv/installed
	$(BIN)/python -m src.bench $(ARGS)

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
