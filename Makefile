# make demo | test | test-all | lint | bench     (each makes .venv and installs what it needs, once)
# make peers | data                              (PyTorch and others to compare with; TFDS and OpenML)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all lint bench peers data clean

demo: .venv/.demo
	$(BIN)/python experiments/demo.py

test: .venv/.test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not slow"

test-all: .venv/.peers .venv/.data
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.peers
	$(BIN)/python benchmarks/samplers.py
	$(BIN)/python benchmarks/training.py

peers: .venv/.peers

data: .venv/.data

clean:
	rm -rf .venv

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
