# Everything that is done with this repository. `make` alone says what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The distribution's own Python is preferred: it is built with PGO and LTO, which a hand-built one
# often is not (measured: 2 to 50 % faster). PYTHON=... overrides.
FIND_PYTHON = for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done
PYTHON ?= $(shell $(FIND_PYTHON))

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
NOT_IN_TESTS := not slow and not interop

help:
	@echo 'make serve     start a broker on 127.0.0.1:5672 (installs first)'
	@echo 'make install   create .venv with what a broker needs, compile the codec if possible'
	@echo 'make codec     compile the codec again, for example after a compiler was installed'
	@echo 'make test      the tests, with the compiled and with the pure codec'
	@echo 'make check     format, lint, types, layers, sizes, then the tests'
	@echo 'make bench     the benchmark (docs/benchmarks.md)'
	@echo 'make sim       the simulation; SEED=n repeats one run'
	@echo 'make torture   kill a broker 500 times and look whether it lost anything; SEED=n, ROUNDS=n'
	@echo 'make torture-redis  the same with Redis clients; needs a redis-server'
	@echo 'make torture-zmq    the same with ZeroMQ clients'
	@echo 'make backlog   10 million durable messages in one queue; make disk-full: a full filesystem (as root)'
	@echo 'make differential  a million Redis commands to redis-server and to Mansio; SEED=n, COMMANDS=n'
	@echo 'make fuzz      fuzz the parsers for FUZZ_SECONDS (60)'
	@echo 'make interop   the tests against RabbitMQ and other third-party programs'
	@echo 'make compat    test suites of third-party clients against Mansio'
	@echo 'make format    format the code; make lock: renew requirements/*.txt; make clean'

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		found=$$(python3 --version 2>/dev/null || echo 'no python3'); \
		if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "error: $$found has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; \
		else \
			echo "error: Mansio needs Python 3.11 or newer, found $$found; or name one: make PYTHON=/path/to/python3" >&2; \
		fi; exit 1; fi
	@echo "install: creating $(VENV) with $$($(PYTHON) --version) ($(PYTHON))"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: no virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# The stamp: locked packages and an editable Mansio are in .venv.
$(VENV)/.installed: requirements/run.txt requirements/build.txt pyproject.toml | $(BIN)/python
	@echo 'install: packages of requirements/run.txt and build.txt'
	@$(PIP) install --require-hashes -r requirements/run.txt -r requirements/build.txt
	@MANSIO_PURE=1 $(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

# The stamp: the codec is compiled from its present source, or setup.py has said why not.
CODEC := $(wildcard $(foreach name,amqp resp resp_fields resp_quick zmtp zmtp_runs,src/mansio/codec/$(name).py src/mansio/codec/$(name).pxd))
$(VENV)/.codec: setup.py $(CODEC) $(VENV)/.installed
	@rm -f src/mansio/codec/*.so
	@$(BIN)/python setup.py --quiet build_ext --inplace --force 2>&1 | tee $(VENV)/codec.log | grep '^codec:' \
		|| { cat $(VENV)/codec.log; false; }
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.installed
	@echo 'install: packages of requirements/dev.txt'
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.dev
	@$(PIP) install --require-hashes -r requirements/fuzz.txt
	@touch $@

.PHONY: help install codec dev serve test lint check bench sim torture torture-redis torture-zmq disk-full backlog differential fuzz interop compat format lock clean
install: $(VENV)/.installed $(VENV)/.codec
codec:
	@rm -f $(VENV)/.codec
	@$(MAKE) --no-print-directory $(VENV)/.codec
dev: install $(VENV)/.dev

serve: install
	@exec $(BIN)/mansio serve $(ARGS)

# The second run takes the pure codec and leaves out what starts processes, so it may have all
# processors; where nothing could be compiled, the first run was the pure one.
test: dev
	$(BIN)/python -m pytest -q -m '$(NOT_IN_TESTS)' $(ARGS)
	@if ls src/mansio/codec/amqp.*.so >/dev/null 2>&1; then set -x; \
		MANSIO_PURE=1 $(BIN)/python -m pytest -q -n auto -m '$(NOT_IN_TESTS) and not process' $(ARGS); \
	else echo 'the codec is not compiled: that was the pure run'; fi

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_structure.py

check: lint test

bench: dev
	$(BIN)/python bench/run.py $(ARGS)

sim: dev
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(ARGS)

ROUNDS ?= 500
torture: dev
	$(BIN)/python -m tests.torture --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

torture-redis: dev
	$(BIN)/python -m tests.torture.redis --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

torture-zmq: dev
	$(BIN)/python -m tests.torture.zmq --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

disk-full: dev
	$(BIN)/python -m tests.torture.disk_full $(ARGS)

backlog: dev
	$(BIN)/python -m tests.torture.backlog $(ARGS)

COMMANDS ?= 1000000
differential: dev
	$(BIN)/python -m tests.differential --commands $(COMMANDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

FUZZ_SECONDS ?= 60
fuzz: dev $(VENV)/.fuzz
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) --target $(or $(TARGET),all)

interop: dev
	$(BIN)/python -m pytest -q -m interop $(ARGS)

compat: dev
	@tests/compat/run.sh $(ARGS)

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Needs pip-tools; the files must carry no download address.
COMPILE = pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --no-header --allow-unsafe --strip-extras --upgrade
lock:
	$(COMPILE) -o requirements/run.txt pyproject.toml
	$(COMPILE) -o requirements/build.txt requirements/build.in
	$(COMPILE) -o requirements/dev.txt requirements/dev.in
	$(COMPILE) -o requirements/fuzz.txt requirements/fuzz.in
	@! grep -nE '(https?|file)://' requirements/*.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf src/*.egg-info src/mansio/codec/*.so src/mansio/codec/*.c
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
