# Two commands do everything on a fresh machine with Python 3.11+: `make demo` and `make test`.
# All work happens in .venv, which is made on first use.

PYTHON ?= python3
BIN := .venv/bin

# The SDK for JavaScript, which pip cannot install
JS := @elevenlabs/elevenlabs-js@^2.73.0

# Processes that run tests: more than cores, since many tests wait
TESTERS ?= 3

.PHONY: demo test lint types deep reference venv bench bench-gateway bench-clients clients wires clean help

help:
	@echo "make demo   a dialogue over one socket, written to demo-out/"
	@echo "make test   all tests (make deep: the long ones)"
	@echo "make lint   ruff        make types  mypy"
	@echo "make reference  docs/reference, from the code"
	@echo "make bench  latency and CPU, on both backends"
	@echo "make bench-gateway  what the gateway costs, beside a blind pipe and HAProxy"
	@echo "make bench-clients  mux's client beside the official SDKs and LiveKit's plugin"
	@echo "make clients  LiveKit, Pipecat, Patter, the ElevenLabs and KugelAudio SDKs against mux serve (make wires: record them)"
	@echo "make venv   .venv with a working .venv/bin/mux"

demo: .venv/.mux
	$(BIN)/mux demo

test: .venv/.dev
	$(BIN)/python -m pytest -q -n $(TESTERS) --dist loadfile

deep: .venv/.dev
	MUX_PROFILE=deep $(BIN)/python -m pytest -q --timeout 1800

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

reference: .venv/.dev
	$(BIN)/python docs/make_reference.py

bench: .venv/.dev
	$(BIN)/python tests/bench.py

bench-gateway: .venv/.dev
	$(BIN)/python tests/bench_gateway.py

bench-clients: .venv/.dev .venv-clients/.clients
	$(BIN)/python tests/bench_clients

clients: .venv-clients/.clients
	DO_NOT_TRACK=1 .venv-clients/bin/python -m pytest -q -m clients tests/clients

wires: .venv-clients/.clients
	DO_NOT_TRACK=1 .venv-clients/bin/python tests/wires/record.py

venv: .venv/.mux

.venv/.mux: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/.mux

.venv-clients/.clients: pyproject.toml | .venv-clients/bin/python
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[clients]'
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .venv-clients/js $(JS); \
	else echo "There is no npm here: the tests of the SDK for JavaScript will be skipped."; fi
	@touch $@

.venv/bin/python .venv-clients/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mux needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=python3.12 demo"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "This Python cannot make virtual environments: its ensurepip is missing."; \
	  echo "Install the system package python$$version-venv (Debian, Ubuntu: sudo apt install python$$version-venv)"; \
	  echo "and call make again."; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)

clean:
	rm -rf .venv .venv-clients demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
