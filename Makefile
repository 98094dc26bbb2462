# These targets rule the house; each sets up what it needs, from Python 3.11+, git and make alone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Sets of real images, where there are any: tests and benchmarks that need one skip, with the reason, without it.
export OSLER_TEST_DATA ?=

.PHONY: demo test test-long test-adapters check format clean

demo: $(READY)
	$(BIN)/osler demo

test: $(READY)
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile

test-long: $(READY)
	$(BIN)/python -m pytest -m long

# The callbacks under the frameworks themselves, in an environment of their own that sees what .venv has.
ADAPTERS := .venv/adapters
test-adapters: $(READY) $(ADAPTERS)/.ready
	KERAS_BACKEND=torch $(ADAPTERS)/bin/python -m pytest tests/adapters src/osler/adapters

$(ADAPTERS)/.ready: constraints-adapters.txt
	test -x $(ADAPTERS)/bin/python || $(BIN)/python -m venv $(ADAPTERS)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > "$$($(ADAPTERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	$(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-adapters.txt
	@touch $@

check: $(READY)
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Osler needs Python 3.11 or newer; $(PYTHON) is older. Use: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $(READY)

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
