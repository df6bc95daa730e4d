# The two commands of the README are `make demo` and `make test`; both set everything up first.
PYTHON ?= python3
CORES ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count())")
# Without a GPU two small networks side by side fill two cores better than one after the other.
NETWORKS ?= $(shell command -v nvidia-smi >/dev/null && echo 1 || echo 2)
CONFIG ?= config/ukbb.yaml
PILOT ?= results/demo
BIN := .venv/bin
# The interpreter behind an activated .venv, which has no pip and is made anew under its own feet.
BASE = "$$($(PYTHON) -c 'import sys; print(sys._base_executable)')"
INSTALLED := .venv/.installed
# Our tools call one another by name (snakefmt: shfmt; snakemake: its jobs), whatever the caller's PATH.
WITH_TOOLS := PATH="$(CURDIR)/$(BIN):$$PATH"

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PYTHONWARNINGS ?= ignore::SyntaxWarning

.PHONY: help env demo demo-full paper starter starter-rows plan example test test-all lint format docs lock config-docs clean egress hooks drift freeze

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

env: $(INSTALLED) ## The pinned environment under .venv

# --no-compile: of the thousands of modules most are never imported; the others compile when they are.
$(INSTALLED): envs/requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  'Python 3.11 to 3.13 is needed, this is %d.%d; name another with make PYTHON=python3.12' % v)"
	$(BASE) -m venv --clear --without-pip .venv
	$(BASE) -m pip --python $(BIN)/python install -q --disable-pip-version-check \
	  --no-compile -r envs/requirements.txt
	$(BASE) -m pip --python $(BIN)/python install -q --disable-pip-version-check \
	  --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

demo: env ## The whole workflow on the synthetic cohort, with report
	$(WITH_TOOLS) snakemake --cores $(CORES) --resources gpu=$(NETWORKS)
	@echo
	@cat results/demo/summary.md

demo-full: env ## The same with a network trained from random weights, which takes longer
	$(WITH_TOOLS) snakemake --cores $(CORES) --resources gpu=$(NETWORKS) \
	  --configfile config/config.yaml config/from-scratch.yaml
	@echo
	@cat results/demo/summary.md

egress: env ## What may leave a secure environment (your own data: ARGS="--configfile FILE")
	$(WITH_TOOLS) snakemake egress --cores $(CORES) --resources gpu=1 $(ARGS)

freeze: env ## Keep the results under a tag: make freeze TAG=release1
	$(WITH_TOOLS) snakemake freeze --cores $(CORES) --resources gpu=1 \
	  $(ARGS) --config release_tag=$(TAG)

drift: env ## Compare the results with those kept: make drift TAG=release1
	$(WITH_TOOLS) snakemake drift --cores $(CORES) --resources gpu=1 \
	  $(ARGS) --config release_tag=$(TAG)

hooks: env ## Let git refuse participants' data in this clone
	git config core.hooksPath hooks

paper: env ## The paper's tables and figures of 5,000 synthetic rows drawn with its published numbers
	$(BIN)/iliopsoas paper results/paper

starter: env ## Train the starter network again from its seeds, for hours; goes on where it was stopped
	$(BIN)/python -m iliopsoas.network.starter

starter-rows: env ## What quality is predicted from with a second opinion of the starter network, again
	$(BIN)/python -c "from iliopsoas.qc import opinion_rows; opinion_rows.main()"

plan: env ## Hours, disk, files and cost of CONFIG, from the results of a PILOT (ARGS="--cores 16 --gpus 1")
	$(BIN)/iliopsoas plan $(CONFIG) --pilot $(PILOT) $(ARGS)

example: env ## UK Biobank's public example scan, from download to Dice with the published masks
	$(BIN)/iliopsoas example config/example.yaml -o results/example

test: env ## The tests, without those marked slow
	$(WITH_TOOLS) pytest -m "not slow" -n auto --dist loadfile

test-all: env ## All tests, the whole workflow on a small cohort among them
	$(WITH_TOOLS) pytest

lint: env ## Style, layers, workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(WITH_TOOLS) snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(WITH_TOOLS) lint-imports
	$(WITH_TOOLS) snakemake --lint

format: env ## Format everything
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(WITH_TOOLS) snakefmt Snakefile workflow/Snakefile workflow/rules

docs: env ## The documentation, into site/
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . site
	@echo site/docs/index.html

lock: ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --no-header \
	  --no-emit-index-url --no-annotate --extra cpu --extra dev --extra docs pyproject.toml -o envs/requirements.txt
	uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --no-header \
	  --no-emit-index-url --no-annotate --extra gpu --extra slurm pyproject.toml -o envs/requirements-gpu.txt

config-docs: env ## Generate the list of configuration keys, and tables of the documentation
	$(BIN)/iliopsoas pages
	$(BIN)/python tests/workflow/rerun_table.py docs/reruns.md

clean: ## Remove the demo's results and its synthetic cohort, nothing else
	rm -rf results/demo resources/phantom
