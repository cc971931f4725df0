# `make run` brings up the lab, `make test` checks everything; both install what they need first.

VENV := .venv/bin
MANIFEST ?=

.PHONY: run down test check unit kernel vm clients format lock docs openapi update-golden install install-tests help

run: install  ## a three-node lab with the example shop, every Service checked
	@$(VENV)/fairway lab up --replace $(if $(MANIFEST),--manifest $(MANIFEST))

down:  ## remove the lab
	@$(VENV)/fairway lab down

test: install-tests check  ## format, lint, types, import contracts and all tests
	@tools/test.sh

check: install  ## everything but the tests
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/lint-imports

unit: install-tests  ## the pure tests only: no root, no kernel
	$(VENV)/pytest tests/unit tests/docs tests/laws tests/scenarios tests/contract tests/test_house.py -m "not kernel and not clients and not vm and not qemu"

kernel: install  ## real packets in network namespaces
	$(VENV)/pytest -m kernel

vm: install-tests  ## the ipvs mode and SCTP, in guests with kernels of their own
	$(VENV)/pytest tests/vm

clients: install-tests  ## kubectl against the real server
	$(VENV)/pytest -m clients

format: install  ## let the tools put the code in order
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

install:
	@tools/install.sh

install-tests:
	@tools/install.sh --tests

lock:  ## renew the lock file from pyproject.toml
	$(VENV)/pip install -q uv
	$(VENV)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-annotate --universal \
		--python-version 3.11 --group dev --extra etcd --custom-compile-command "make lock" pyproject.toml -o requirements.lock

docs: install  ## make the generated reference pages again
	$(VENV)/python tools/docs.py
	$(VENV)/python tools/conformance.py

openapi: install  ## make the shipped OpenAPI schemas again
	$(VENV)/python tools/openapi.py

update-golden: install  ## print the scenarios' programs again; read the diff before you commit it
	FAIRWAY_UPDATE_GOLDEN=1 $(VENV)/pytest -q tests/scenarios

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16
