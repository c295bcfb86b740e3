# The commands of this project; `make help` lists them.
PYTHON ?= python3
VENV := .venv
PEERS := parsers loaders streaming
# More than two cores have: many tests wait for processes that they started.
WORKERS := 3
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export PATH := $(CURDIR)/$(BIN):$(PATH)

setting = $(shell sed -n 's/^$(1): *\([^ ]*\).*/\1/p' conf/repro.yaml)
RESULTS = results/$(call setting,source)/$(call setting,experiment)

.DEFAULT_GOAL := help
.PHONY: help run test coverage mutation check docs prove bench-env bench ui studio

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/installed ## drawings to a trained model and its gallery, on the embedded default
	dvc repro
	@echo
	@echo "results   $(RESULTS)/: gallery.html, metrics.json, curves.csv, model/"
	@echo "runs      make ui, then open http://127.0.0.1:5000"

test: $(VENV)/installed-dev ## the test suite but what takes long, which `make prove` runs
	pytest -n $(WORKERS) --dist worksteal

coverage: $(VENV)/installed-dev ## which lines the tests run; CONTRIBUTING.md says which they need not
	rm -rf .cache/coverage
	coverage run -m pytest -n $(WORKERS) --dist worksteal -m "long or not long"
	coverage combine --quiet
	coverage report

mutation: $(VENV)/installed-dev .venv-bench-mutation/installed ## wrong programs that the tests do not notice, of losses, feed and splits, in hours
	python -m benchmarks.mutation

docs: $(VENV)/installed-dev ## the site of the documentation, in build/docs; a warning is an error
	sphinx-build -q -W --keep-going -c docs -d build/doctrees . build/docs
	@echo "site      build/docs/index.html"

check: $(VENV)/installed-dev ## format, lint, types, import rules
	ruff format --check .
	ruff check .
	mypy
	lint-imports

prove: $(VENV)/installed-dev ## that training and search survive: killed, stopped, shared out anew, in an hour
	pytest -m long
	python -m benchmarks.faults
	python -m benchmarks.search

bench-env: $(VENV)/installed $(PEERS:%=.venv-bench-%/installed) benchmarks/magenta_js/node_modules ## the benchmarks' peers, each in an environment of its own

bench: $(VENV)/installed-dev bench-env run ## every benchmark but scale, curves and gpu, in about two hours
	mkdir -p build/bench
	python -m benchmarks.ingest
	python -m benchmarks.feed
	python -m benchmarks.train_step --rounds 3 --narrow-rounds 2
	python -m benchmarks.growth --turn-s 3 --limit-s 25 --plot build/bench/growth.png
	python -m benchmarks.sampling
	python -m benchmarks.overheads
	python -m benchmarks.scaling
	python -m benchmarks.search overhead --steps 1200 --rounds 2 --folder build/bench
	python -m benchmarks.drawing --model $(RESULTS)/model
	python -m benchmarks.studio $(RESULTS)/model

ui: $(VENV)/installed ## MLflow's pages of the runs, on http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

studio: $(VENV)/installed ## a page to draw on with the trained models, on http://127.0.0.1:5001
	python -m pipeline.studio

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), in silence: minutes, by the network"
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) --editable '.[dev]'
	touch $@

benchmarks/magenta_js/node_modules: benchmarks/magenta_js/package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --prefix benchmarks/magenta_js
	touch $@

# Apart from the project: some need older libraries than it does.
.venv-bench-%/installed: benchmarks/requirements-%.txt
	$(PYTHON) -m venv .venv-bench-$*
	.venv-bench-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@
