# The menu of the project: `make` lists it. Each recipe is one command that can also be typed by hand after `make setup`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The interpreter that .venv is made from, and what `make demo` ends with.
PYTHON ?= python3
TABLE := trackyard table molmo2

BIN := $(CURDIR)/.venv/bin
TORCH := $(shell grep -E '^torch==' requirements.lock)
# A new lock or new project metadata gives a new stamp: `make setup` does nothing exactly while neither has changed.
STAMP := .venv/.stamp-$(shell cat requirements.lock pyproject.toml | sha256sum | cut -c1-16)

# Recipes and the programs they start (dvc runs `trackyard`) find the project's environment first. Nothing calls a hub
# or reports usage: data and models are brought by commands of their own.
export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export HF_HUB_OFFLINE := 1

.PHONY: help setup demo demo-all test check lint-images image ui bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(STAMP) ## make .venv with every pinned package and trackyard itself (minutes once, then nothing)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { printf '%s\n' \
	  'what: PYTHON=$(PYTHON) is absent or older than 3.11' \
	  'why:  the pinned packages and the code need Python 3.11 or newer' \
	  'fix:  make setup PYTHON=python3.11   (Debian: apt-get install python3 python3-venv)' >&2; exit 3; }
	@rm -f .venv/.stamp-*
	@echo 'setup 1/4: .venv'
	@$(PYTHON) -m venv .venv
	@echo 'setup 2/4: $(TORCH), first and alone, so that no other package chooses its build'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	@echo "setup 3/4: $$(grep -c '^[^#].*==' requirements.lock) pinned packages (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@echo 'setup 4/4: trackyard'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

demo: setup ## train the embedded Molmo2 through its three stages and print the table
	@[ -f data/mini/tulu/manifest.json ] || dvc pull data.dvc
	dvc repro stage3
	$(TABLE)

# Pipelines that share nothing but the data run side by side, one on a core each. Not nine: it measures latencies.
SIDE_BY_SIDE := stage3 pipelines/pile_ffn/dvc.yaml pipelines/datacomp/dvc.yaml

demo-all: setup ## run every pipeline on the mini profile and write the report of all tracks (a quarter of an hour)
	@[ -f data/mini/tulu/manifest.json ] || dvc pull data.dvc
	printf '%s\n' $(SIDE_BY_SIDE) | PYTHONUNBUFFERED=1 xargs -P 2 -I TARGET \
	  bash -o pipefail -c 'dvc --wait-for-lock repro TARGET 2>&1 | sed -u "s,^,TARGET: ,"'
	dvc repro compare
	@echo 'report    report/index.html;  next: make ui'

test: setup ## run every test, on two cores
	python -m pytest -n 2 --dist loadfile

check: setup ## lint, types, layers, secrets, pipelines and README
	ruff check
	ruff format --check
	mypy
	lint-imports
	python -m checks.secrets
	python -m checks.pipelines
	python -m checks.readme
	python -m checks.images

lint-images: setup ## check the image definitions and the Dockerfile, without building them
	python -m checks.images

BASE := containers/debian-12.sif

image: setup ## build the cpu image from its definition and lock it (Apptainer, and root for its Debian base; minutes)
	@[ -f $(BASE) ] || containers/debian-base.sh $(BASE)
	trackyard image build cpu --build-arg BASE=$(BASE)

ui: setup ## open the workbench in a browser
	trackyard ui

# Peers live in an environment of their own; nothing of it is ever imported by trackyard.
PEERS := .venv-peers/.stamp-$(shell cat benchmarks/peers.txt | sha256sum | cut -c1-16)

$(PEERS):
	@rm -f .venv-peers/.stamp-*
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers.txt
	@touch $@

bench: setup $(PEERS) ## measure beside the peers, one record each in benchmarks/results (on a quiet machine)
	python -m benchmarks $(BENCHMARKS)
