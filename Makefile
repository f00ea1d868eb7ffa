# Two commands matter: make report, make test. Everything installs itself when needed, and only then.
PYTHON ?= python3
DATA ?=
MODEL ?= embedded
OUT ?=
LIMIT ?= 0
SEED ?= 0
CLIMB ?=
INCUMBENT ?=

# With the conda environment of environment.yml active, use it; else a virtual environment of our own.
ifeq ($(CONDA_DEFAULT_ENV),stepladder)
BIN := $(CONDA_PREFIX)/bin
STAMP := $(CONDA_PREFIX)/.stepladder-installed
else
BIN := .venv/bin
STAMP := .venv/.installed
endif

export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help report test lab reference check bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo "  make report takes DATA=folder MODEL=name OUT=folder LIMIT=n SEED=n CLIMB=all INCUMBENT=file; PYTHON=python3.12 chooses the interpreter"

report: $(STAMP)  ## climb the ladder and write the report
	@$(BIN)/stepladder report --data "$(DATA)" --model "$(MODEL)" --out "$(OUT)" --limit "$(LIMIT)" --seed "$(SEED)" --climb "$(CLIMB)" --incumbent "$(INCUMBENT)"

test: $(STAMP) check  ## ruff, mypy and all tests, among them every notebook, small
	@$(BIN)/python -m pytest

check: $(STAMP)  ## ruff and mypy alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lab: $(STAMP)  ## JupyterLab with the right kernel
	@$(BIN)/jupyter lab notebooks

reference: $(STAMP)  ## renew results/reference and the README's figures
	@$(BIN)/stepladder report --out results/reference
	@$(BIN)/stepladder readme

bench: $(STAMP)  ## speed beside other libraries, some 12 minutes on two cores
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install -c requirements.lock -r benchmarks/requirements.txt
	@rm -rf build/benchmarks && mkdir -p build/benchmarks
	@failed=0; for name in embed build search update rerank; do \
		STEPLADDER_BENCH=build/benchmarks $(BIN)/python benchmarks/$$name.py || failed=1; \
	done; rm -rf build/benchmarks; exit $$failed

clean:  ## remove the virtual environment and what tools left behind
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache

$(STAMP): requirements.lock pyproject.toml
	@bash tools/install "$(PYTHON)" "$(BIN)"
	@touch $@
