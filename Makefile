# make demo   set up, then run the default study (config/laptop.yaml) on this machine's CPU
# make test   set up, then run the tests
# make test-fast   set up, then run the unit tests that take no longer than ten seconds each (three minutes on two cores)
# make smoke  set up, then run the smallest study on real data
# make published   set up without torch, then the paper's laws from its released tables (TABLES=FOLDER: from there)
# make test-cluster   set up a Slurm on this machine (root, Debian), then run the executor's tests on it
# make lint   format and type checks
# make docs   regenerate config/schema.json, the option table of config/README.md and the pictures of docs/design.md
# make env-peers   install what the benchmarks and `recipe.trainer: open_clip_train` compare with, into .venv-peers
# make env-img2dataset   install img2dataset into .venv-img2dataset, for sources that are lists of URLs
# make lock   resolve the pinned requirements in envs/, with hashes (needs uv)
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
RUN := . $(VENV)/bin/activate &&
# A worker a core, and one thread in each: two threads on a shared core are slower than one.
TEST_WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 python -m pytest -n $(TEST_WORKERS) --dist loadfile
# Pins of all packages with the hashes of all their files: pip takes no other.
COMPILE := uv pip compile --universal --python-version 3.11 --no-annotate --no-header --generate-hashes
INSTALL := -m pip install --disable-pip-version-check --require-hashes --no-deps

.DEFAULT_GOAL := help
.PHONY: help env env-dev env-peers env-img2dataset demo smoke published test test-fast test-cluster lint docs lock

help:
	@sed -n 's/^# //p' Makefile

demo: env
	@echo "== The default study: 36 training runs, their evaluation, laws and report. Watch the steps go by:"
	$(RUN) snakemake --cores all
	@echo "== Done. Open results/laptop/report.html"

smoke: env
	$(RUN) snakemake --cores all --configfile config/smoke.yaml

published: $(VENV)-laws/.installed
	. $(VENV)-laws/bin/activate && snakemake --cores all --configfile config/published.yaml \
		$(if $(TABLES),--config published=$(TABLES))
	@echo "== Done. Open results/published/report.html"

test: env-dev env-img2dataset
	@echo "== Tests (about fifteen minutes on two cores)"
	$(RUN) $(PYTEST) $(PYTEST_ARGS)

test-fast: env-dev
	@echo "== Unit tests (about three minutes on two cores)"
	$(RUN) $(PYTEST) -m "not slow and not network and not browser and not gpu" tests/unit $(PYTEST_ARGS)

test-cluster: env-dev
	@echo "== Tests on a Slurm of four pretend nodes (about seven minutes)"
	@{ command -v slurmdbd && command -v mariadbd && command -v munged && command -v sbatch; } > /dev/null || { apt-get update -q && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends slurm-wlm munge slurmdbd mariadb-server; }
	$(RUN) CLIP_SCALING_TEST_CLUSTER=1 python -m pytest -v --durations=10 tests/cluster $(PYTEST_ARGS)

lint: env-dev
	$(RUN) ruff check . && ruff format --check . && snakefmt --check Snakefile workflow/rules && mypy && lint-imports

docs: env-dev
	$(RUN) python scripts/generate_references.py && python scripts/generate_pictures.py

lock:
	$(COMPILE) pyproject.toml --extra study -o envs/study.txt
	$(COMPILE) pyproject.toml --extra laws -c envs/study.txt -o envs/laws.txt
	$(COMPILE) pyproject.toml --extra dev -c envs/study.txt -o envs/dev.txt
	$(COMPILE) envs/peers.in -o envs/peers.txt
	$(COMPILE) envs/img2dataset.in -o envs/img2dataset.txt

env: $(VENV)/.study
env-dev: $(VENV)/.dev
env-peers: $(VENV)-peers/.installed
env-img2dataset: $(VENV)-img2dataset/.installed

$(VENV)/bin/python $(VENV)-laws/bin/python $(VENV)-peers/bin/python $(VENV)-img2dataset/bin/python: %/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one by `make PYTHON=python3.12 ...`")'
	@echo "== Creating $*"
	$(PYTHON) -m venv $*

$(VENV)/.study: envs/study.txt pyproject.toml | $(VENV)/bin/python
	@echo "== Installing the study's environment into $(VENV) (about 2 minutes, 6 GB with PyTorch)"
	$(VENV)/bin/python $(INSTALL) -r envs/study.txt
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

$(VENV)-laws/.installed: envs/laws.txt pyproject.toml | $(VENV)-laws/bin/python
	@echo "== Installing the light environment into $(VENV)-laws (no PyTorch; under a minute)"
	$(VENV)-laws/bin/python $(INSTALL) --quiet -r envs/laws.txt
	$(VENV)-laws/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

$(VENV)-peers/.installed: envs/peers.txt | $(VENV)-peers/bin/python
	@echo "== Installing open_clip_train and other peers into $(VENV)-peers (about 2 minutes, 6 GB)"
	$(VENV)-peers/bin/python $(INSTALL) --quiet -r envs/peers.txt
	@touch $@

$(VENV)-img2dataset/.installed: envs/img2dataset.txt | $(VENV)-img2dataset/bin/python
	@echo "== Installing img2dataset into $(VENV)-img2dataset (under a minute, 0.8 GB)"
	$(VENV)-img2dataset/bin/python $(INSTALL) --quiet --no-compile -r envs/img2dataset.txt
	@touch $@

$(VENV)/.dev: envs/dev.txt $(VENV)/.study
	@echo "== Installing the tests' environment into $(VENV)"
	$(VENV)/bin/python $(INSTALL) --quiet -r envs/dev.txt
	@touch $@
