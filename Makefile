# make demo | test | lint | bench     each makes .venv and installs what it needs, once
# make peers | data                   installs PyTorch and others to compare with; TFDS and OpenML
# make cluster | formats              installs submitit and Dask; what reads Parquet, HDF5 and other files
# make test-extras | test-all         the tests that need those; every test, slow ones too
# make devices                        compiles programs for TPUs and GPUs that this machine has not, and checks them
# make docs                           the site, into build/site; fails where a name or a link lacks its end
# make release-check                  sdist and wheel, installed with each extra in environments of their own
# make test-newest                    the tests of `make test` with the newest JAX, in .venv-newest (Python 3.12 or later)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Compiling is most of the fast tests' time, and takes a third of it with these flags of the pinned jax. The slow
# tests, and those with extras, compile as users do.
QUICK := XLA_FLAGS="$$XLA_FLAGS --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"

NEWEST ?= $(shell command -v python3.14 || command -v python3.13 || command -v python3.12)

.PHONY: demo test test-extras test-all devices test-newest lint bench peers data cluster formats docs release-check clean

demo: .venv/.demo
	$(BIN)/python -m experiments.demo

test: .venv/.test
	$(QUICK) $(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not slow and not devices"

test-extras: .venv/.peers .venv/.data .venv/.cluster .venv/.formats
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "extras and not slow"

test-all: .venv/.peers .venv/.data .venv/.cluster .venv/.formats
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not devices"

# Compilers lie aside: a JAX that finds them would look for their devices. The version of libtpu is the one that
# jax[tpu] of the pinned jax wants.
CHIPS ?= .chips
ASIDE = $(PIP) --no-deps --upgrade --target

devices: .venv/.test
	@test -e $(CHIPS)/tpu || { $(ASIDE) $(CHIPS)/tpu.part 'libtpu==0.0.42.*' && mv $(CHIPS)/tpu.part $(CHIPS)/tpu; } \
	  2>/dev/null || echo "make devices: no TPUs, libtpu 0.0.42 cannot be installed here"
	@test -e $(CHIPS)/cuda || { $(ASIDE) $(CHIPS)/cuda.part jax-cuda12-plugin==0.10.2 jax-cuda12-pjrt==0.10.2 \
	  'nvidia-cuda-nvcc-cu12==12.9.*' 'nvidia-cuda-runtime-cu12==12.9.*' 'nvidia-nvjitlink-cu12==12.9.*' \
	  && mv $(CHIPS)/cuda.part $(CHIPS)/cuda; } \
	  2>/dev/null || echo "make devices: no GPUs, JAX's plugin for CUDA 0.10.2 cannot be installed here"
	BADGE_JAX_CHIPS=$(CHIPS) JAX_PLATFORMS=cpu $(BIN)/python -m pytest --numprocesses auto -m devices tests/chips

test-newest: .venv-newest/.test
	.venv-newest/bin/python -m pytest --numprocesses auto --dist loadfile -m "not slow and not devices"

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.peers
	$(BIN)/python -m benchmarks.samplers
	$(BIN)/python -m benchmarks.training

peers: .venv/.peers

data: .venv/.data

cluster: .venv/.cluster

formats: .venv/.formats

# The variable silences an advertisement of the theme's successor.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo build/site/index.html

release-check:
	$(PYTHON) tests/release.py

clean:
	rm -rf .venv .venv-newest $(CHIPS)

# A stamp is written last, so that an interrupted install is done again.
.venv/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	$(PIP) --editable '.[plots]'
	touch $@

.venv/.test: .venv/.demo
	$(PIP) --group test
	touch $@

.venv/.peers: .venv/.test
	$(PIP) --group peers
	touch $@

.venv/.data: .venv/.test
	$(PIP) --editable '.[data]'
	touch $@

.venv/.cluster: .venv/.test
	$(PIP) --editable '.[slurm,dask]'
	touch $@

.venv/.formats: .venv/.test
	$(PIP) --editable '.[formats]'
	touch $@

.venv/.docs: .venv/.demo
	$(PIP) --group docs
	touch $@

.venv-newest/.test: pyproject.toml
	@test -n "$(NEWEST)" || { echo "make test-newest needs Python 3.12 or later: make test-newest NEWEST=python3.13"; exit 2; }
	test -x .venv-newest/bin/pip || $(NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --editable '.[plots]' --group test
	touch $@
