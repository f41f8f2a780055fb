# `make demo` and `make test` each work on a fresh machine: they make their own virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# compiles every graph in the tests, without a GPU; the metapackage looks for them elsewhere, so they are named one by one
TENSORRT_RTX := tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116

.PHONY: demo test lint type docs unit fuzz clean

demo: $(VENV)/runtime.stamp
	$(BIN)/glus-edge demo --output out/demo --overwrite

test: lint type docs unit

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(VENV)/dev.stamp
	$(BIN)/mypy

docs: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Mutated inputs for every reader, COUNT for each target, from SEED on: `make fuzz COUNT=1000000 TARGETS=video`.
COUNT ?= 100000
SEED ?= 0
TARGETS ?=
fuzz: $(VENV)/dev.stamp
	$(BIN)/python -m tests.fuzz $(TARGETS) --count $(COUNT) --seed $(SEED)

unit: $(VENV)/dev.stamp
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/runtime.stamp: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# torch is pinned to a release with a CPU wheel; sam2 comes without its dependencies (they ask for torchvision,
# which beside a CPU-only torch breaks `import transformers`) and without build isolation (it would fetch a second torch).
$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet torch==2.13.0 "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation sam2==1.1.0
	$(BIN)/python -m pip install --quiet --no-deps $(TENSORRT_RTX)
	touch $@ $(VENV)/runtime.stamp

clean:
	rm -rf $(VENV) out build *.egg-info
