# The two commands of the README, and what continuous integration runs.  Each target does its own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint types imports docs bench constraints clean

demo: $(READY)          ## the whole flow on real stars: demo-out/
	$(BIN)/xpscale demo --out demo-out

test: $(READY)          ## lint, types, import contracts, tests
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: lint types imports

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

docs: $(READY)          ## the documents, with their tutorials executed: docs/_build/html
	$(BIN)/python docs/example.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sphinx-build --fail-on-warning --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(READY)         ## ratios, not times: prints tables
	$(BIN)/python -m tests.benchmarks

# torch first, from pip, which knows where its CPU build is; uv then resolves the rest in seconds.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv $$(grep '^torch==' constraints.txt)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[test]'
	touch $(READY)

constraints: $(READY)   ## renew constraints.txt within the ranges of pyproject.toml
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --extra test pyproject.toml | sed 's/+cpu//' > constraints.new
	(head -1 constraints.txt; cat constraints.new) > constraints.txt.new
	mv constraints.txt.new constraints.txt; rm constraints.new

clean:
	rm -rf $(VENV) demo-out dist docs/_build docs/reference/api docs/explanation/design docs/tutorials/*-out docs/tutorials/tutorial-*
