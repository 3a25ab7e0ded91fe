# Everything sets itself up: `make search` and `make test` work on a fresh clone with Python 3.11 or newer.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: setup search test test-all test-rest lint type format clean bench-proxy bench-cost bench-models bench-eval \
	bench-data bench-copies bench-intervals bench-readouts reward-table bench-engine bench-commands gpu-check chaos landscape ablations bench-controllers docs

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; give its path with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# A real but small search on generated data: 12 candidates, then the best two and both baselines once more.
search: setup
	$(BIN)/spinesearch search experiment=demo

# Two processes, each with a thread for torch. tests/conftest.py orders the files and prints the time per folder. Child
# processes find compiled modules, whatever the environment says.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder

# Whole files for each process, so that what their tests share is made once; the slow ones are dealt out one by one.
# Lint and types run beside the tests: these wait for Ray and for child processes now and then.
test: setup
	@$(MAKE) --no-print-directory lint type > $(VENV)/.checks 2>&1 & checks=$$!; \
	$(PYTEST) --dist loadfile -m "not slow"; tests=$$?; \
	wait $$checks; checks=$$?; cat $(VENV)/.checks; exit $$((tests + checks))

# Everything: before an issue is closed and before a release. Injected faults come last, in one process: they and their
# Rays want both cores. Under an hour on two cores.
test-all: setup lint type
	$(PYTEST) --dist loadgroup --timeout 1800 -m "not faults"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --timeout 1800 -m faults

# What continuous integration runs after `make test`: the rest of the suite, but for injected faults and timing.
test-rest: setup
	$(PYTEST) --dist loadgroup --timeout 1800 -m "slow and not faults"

# SpineNet-49 on the proxy task: where a step's time goes, then the scores of six seeds; about two minutes.
# ARGS="data=coco data.train_images=... ..." for other data.
bench-proxy: setup
	$(BIN)/spinesearch bench proxy $(ARGS)
	$(BIN)/python benchmarks/training/proxy_seeds.py 6 $(ARGS)

# Time of a cost from the spec alone, without torch: some seconds.
bench-cost: setup
	$(BIN)/python benchmarks/models/cost_speed.py

# Speed of the backbones against a plain PyTorch port, each rewrite on and off: about 12 minutes on two cores that
# do nothing else; the tables are those of docs/model-speed.md. ARGS=--quick for SpineNet-49 alone.
bench-models: setup
	$(BIN)/python benchmarks/models/model_speed.py $(ARGS)

# Time of COCO AP by each evaluator, 5,000 images of 100 detections: six minutes, nearly all of them pycocotools'.
bench-eval: setup
	$(BIN)/python benchmarks/training/evaluators_speed.py $(ARGS)

# What data cost: packing, JPEGs, batches. ARGS="IMAGES_FOLDER ANNOTATION_FILE [IMAGE_SIZE ...]".
bench-data: setup
	$(BIN)/python benchmarks/training/data_speed.py $(ARGS)

# Which copies of a picture are recognised, and what that costs: figures of docs/data.md. ARGS="FOLDER ..." of images.
bench-copies: setup
	$(BIN)/python benchmarks/training/copies.py $(ARGS)

# What the engine costs, beside Ray Tune: the tables of docs/engine-speed.md. ARGS="speed waiting ..." for some of them,
# ARGS=--quick to see that it runs.
bench-engine: setup
	$(BIN)/python benchmarks/engine/engine_speed.py $(ARGS)

# What is recorded in benchmarks/landscape/records and how well a surrogate predicts it, into docs/landscape.md: minutes.
landscape: setup
	$(BIN)/python benchmarks/landscape/page.py $(ARGS)

# What ablations and fusions have on record (docs/ablations.md says how to record), into docs/ablations.md and
# docs/attention-routing.md. ARGS="FOLDER ...": of other places than runs/ablations.
ablations: setup
	$(BIN)/python benchmarks/ablations/ablation_page.py $(ARGS)

# Every strategy on every landscape, into docs/controllers.md and the README; plays what benchmarks/landscape/played.jsonl
# does not have. ARGS=--quick: two minutes.
bench-controllers: setup
	$(BIN)/python benchmarks/landscape/bench_controllers.py $(ARGS)

# How fast what looks at runs answers, each command as a process; fails if one takes longer than it may. About a minute.
bench-commands: setup
	$(BIN)/python benchmarks/engine/commands_speed.py $(ARGS)

# Everything worth knowing on a GPU in twelve minutes: docs/gpu.md, which also says how a bare machine runs it.
# ARGS=--quick: everything in small, on a CPU too.
gpu-check: setup
	$(BIN)/python benchmarks/gpu/gpu_check.py $(ARGS)

# 100 random faults over one search, whose ledger must end as an undisturbed one's: about three minutes, Linux only.
# ARGS="20 --seed 7": fewer, and those of a run whose seed was printed.
chaos: setup
	$(BIN)/python benchmarks/engine/chaos.py $(ARGS)

# How often the intervals of `spinesearch proxy` hold the truth: the tables of docs/reward-noise.md, some minutes.
bench-intervals: setup
	$(BIN)/python benchmarks/training/interval_coverage.py

# One table of many settings, judged by the same expensive one: docs/reward-noise.md. RUNS="STUDY ...": correlation
# studies with one side b, and variance studies under the settings of their sides a.
reward-table: setup
	$(BIN)/python benchmarks/training/reward_table.py $(RUNS)

# What a reward can be read from: averaged weights, statistics, metrics, all from the same trainings. A training takes
# half a minute on one core. ARGS="OUT.jsonl 12 2 key=value ...": architectures, seeds, settings.
bench-readouts: setup
	$(BIN)/python benchmarks/training/reward_readouts.py $(ARGS)

# The documentation site, into build/docs; a dead link is an error.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs
	@echo "build/docs/index.html"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases benchmarks examples

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path "./.git/*" -prune -exec rm -rf {} +
