# Few targets, each does one thing; all of them install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check fix lock

check: .venv/tests  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd api-gateway && ../$(BIN)/mypy --config-file ../pyproject.toml -p app
	cd whisper-service && ../$(BIN)/mypy --config-file ../pyproject.toml -p app

test: .venv/tests  ## the whole test suite
	$(BIN)/pytest

fix: .venv/tests  ## repair format and lint where that can be done by a machine
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/tests: tests/requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
	touch $@
