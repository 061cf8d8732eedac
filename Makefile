# metaembed_rag: `make demo` runs the main job, `make test` the tests; each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
INDEX := demo_index
SPEC := pyproject.toml constraints.txt
SEARCH = $(BIN)/metaembed search --index $(INDEX) -k 2

.PHONY: help demo train test test-all check format notebooks bench docs site clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo  ## Index a PDF, a chart and a note, and ask questions at several budgets
	@echo "== Index examples/files: a PDF, a chart, a note"
	$(BIN)/metaembed index examples/files --index $(INDEX)
	@echo; echo "== \"$(QUESTION)\" at five budgets (the question of this demo is answered by a table on page 1)"
	$(SEARCH) "$(QUESTION)" --compare
	@echo; echo "== What it finds there"
	$(SEARCH) "$(QUESTION)" --budget full
	@echo; echo "== \"$(EVERYDAY)\": the same in everyday words, which BM25 alone does not find"
	$(SEARCH) "$(EVERYDAY)"
	@echo; echo "== \"$(CHART_QUESTION)\": a chart, found by what OCR reads on it"
	$(SEARCH) "$(CHART_QUESTION)" --html demo_hits.html
	@echo; echo "== What each budget finds of what all vectors find, measured on these pages"
	$(BIN)/metaembed calibrate --index $(INDEX)
	@echo; echo "demo_hits.html shows the last pages. Move the budget yourself, in a browser:"
	@echo "    $(BIN)/metaembed serve --index $(INDEX)"
	@echo "Your own files:"
	@echo "    $(BIN)/metaembed index FOLDER --index my_index"

# Its answer is a small table: smaller budgets prefer pages with large charts of income.
QUESTION ?= What was the income from 1998 to 2002?
EVERYDAY ?= my printer has no coloured ink, how do I tell the columns apart?
CHART_QUESTION ?= carbon dioxide in the air at Mauna Loa

train: $(VENV)/.test  ## Train `mini` on Debian's manual pages, and measure before and after (10 CPU minutes)
	test -d $(MIX)/manpages_test || $(BIN)/python -m recipes.mix --out $(MIX) --only manpages
	$(BIN)/metaembed train recipes/mini-manpages.toml
	$(BIN)/metaembed evaluate $(MIX)/manpages_test --mode text
	$(BIN)/metaembed evaluate $(MIX)/manpages_test --mode text --model runs/mini-manpages

MIX = .data/mix

.PHONY: test-fast hooks soak

# Two processes share the tests; OPTIONS goes to pytest: make test OPTIONS="-x tests/store"
WORKERS ?= 2
OPTIONS ?=
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

# Tests start some hundred processes: what one has compiled, the next ones only read.
test test-fast test-all: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.test  ## Run the tests (ten minutes on two busy cores)
	$(PYTEST) -m "not slow and not gpu and not network" $(OPTIONS)

test-fast: $(VENV)/.test  ## Run the tests of the package that are no whole programs (a minute)
	$(PYTEST) --ignore=tests/recipes --ignore=tests/benchmarks -m "not integration and not slow and not gpu and not network" $(OPTIONS)

test-all: $(VENV)/.test  ## Run the slow tests too
	$(PYTEST) -m "not network" $(OPTIONS)

SOAK ?= --out results/soak.json

soak: $(VENV)/.test  ## Kills, faults, crowds, hostile input (under an hour on two cores): a table
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak $(SOAK)

check: $(VENV)/.test  ## ruff, mypy, pydoclint, bandit, pip-audit, the tables and the reference of the documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	BIN=$(BIN) .ci/docstrings
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive metaembed_rag
	BIN=$(BIN) $(BIN)/python .ci/audit
	$(BIN)/python -m benchmarks.tables --check
	$(BIN)/python -m benchmarks.command_reference --check

hooks: $(VENV)/.test  ## Check each commit before it is made (pre-commit)
	$(BIN)/pre-commit install

format: $(VENV)/.test  ## Let ruff format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: $(VENV)/.test  ## Run the notebooks again and keep their outputs
	OMP_NUM_THREADS=1 $(BIN)/jupyter execute --inplace notebooks/*.ipynb
	$(BIN)/python notebooks/clean.py notebooks/*.ipynb

BENCH := .data/bench-venv
SIZES ?= 1000 10000 100000
LIMITS ?= --build-seconds 120 --search-seconds 30
COMPARE = $(BENCH)/bin/python -m benchmarks.peers.bench --sizes $(SIZES) $(LIMITS) --scratch .data

bench: $(BENCH)/.done  ## Compare with peers at several sizes (an hour on a busy machine): tables, plots
	$(COMPARE) --json results/peers.json --plot docs/bench_scaling.svg
	@test -e .data/real/manifest.json || echo "no .data/real: see benchmarks/data/real_embeddings.py"
	@test ! -e .data/real/manifest.json || $(COMPARE) --set real \
		--json .data/bench_real.json --plot .data/bench_real.svg

docs: $(VENV)/.test  ## Fill the tables of the documents, and the reference of the command line
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.command_reference

site: $(VENV)/.docs  ## Build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: dist packages image

DIST := .dist
TOOLS := $(DIST)/tools
CHECK_DIST = $(TOOLS)/bin/python .ci/dist --scratch $(DIST)

dist: $(TOOLS)/.done  ## Build all packages; try metaembed-rag on each Python that is here (gigabytes of torch)
	$(CHECK_DIST) $(if $(TAG),--tag $(TAG)) build try

packages: $(TOOLS)/.done  ## Install each package of packages/ by itself from dist/, and run its tests there
	@test -e dist || $(CHECK_DIST) build
	$(CHECK_DIST) suites

image:  ## Build the image of the Dockerfile and ask it (needs a Docker engine)
	.ci/image

$(TOOLS)/.done:
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check install --quiet build twine
	@touch $@

clean:  ## Remove the environment and what the demo made
	rm -rf $(VENV) $(INDEX) demo_hits.html dist $(DIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && \
		apt-get install -qy python3-venv && $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); \
		echo "a virtual environment cannot be made: sudo apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.demo: $(VENV)/bin/python $(SPEC)
	@echo "== Set up $(VENV) (once, about two minutes)"
	$(PIP) -e '.[local,ocr,hybrid,server]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python $(SPEC)
	@echo "== Set up $(VENV) with everything that tests need (once, about three minutes)"
	$(PIP) -e '.[all,dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: .ci/site-requirements.txt $(VENV)/bin/python
	@echo "== Set up what builds the site (once, under a minute)"
	$(PIP) -r $<
	@touch $@

$(BENCH)/.done: benchmarks/peers/requirements.txt $(VENV)/.test
	@echo "== Set up $(BENCH) with the peers, over the project's packages"
	@$(BIN)/python -m venv $(BENCH)
	@packages=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		here=$$($(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		echo "import site; site.addsitedir('$$packages')" > $$here/project.pth
	@grep -v '^#' $< | while read -r peer; do \
		install="$(BENCH)/bin/python -m pip --disable-pip-version-check install -q"; \
		$$install -c constraints.txt "$$peer" 2>/dev/null || $$install --no-deps "$$peer" || \
		echo "$$peer does not install; the table lists it" >&2; done
	@touch $@
