# The two commands of the README, and what continuous integration runs.  Each target does its own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test pytest check lint types imports workflows docs wheel bench constraints image-requirements clean report

demo: $(READY)          ## the whole flow on real stars: demo-out/
	$(BIN)/xpscale demo --out demo-out

test: $(READY)          ## lint, types, import contracts, tests; all at once, since each leaves a core idle
	$(MAKE) --no-print-directory --jobs 3 check pytest

pytest: $(READY)
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: lint types imports workflows

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

report: $(READY)        ## the science report of both presets, on the demo's stars and a universe: report/
	$(BIN)/python -m pipelines.science_report --out report --demo demo-out

docs: $(READY)          ## the documents, with their tutorials executed: docs/_build/html
	$(BIN)/python docs/example.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sphinx-build --fail-on-warning --keep-going -q docs docs/_build/html
	$(BIN)/linkchecker --config docs/links.ini --no-status docs/_build/html/index.html
	@echo "docs/_build/html/index.html"

workflows: $(READY)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --quiet .github

bench: $(READY)         ## ratios, not times: prints tables
	$(BIN)/python -m tests.benchmarks

$(READY): pyproject.toml constraints.txt deploy/images/install.sh
	PYTHON=$(PYTHON) sh deploy/images/install.sh $(VENV) develop
	touch $(READY)

wheel: $(READY)         ## a wheel in dist/, tried in a fresh environment without the tests' packages
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/python -m tests.packages.wheel dist/*.whl

constraints: $(READY)   ## renew constraints.txt within the ranges of pyproject.toml; CUDA's packages are pip's choice
	cp constraints.txt constraints.new
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --all-extras pyproject.toml -o constraints.new
	(head -1 constraints.txt; sed 's/+cpu//' constraints.new | grep -vE '^(#|nvidia-|cuda-|triton)') > constraints.txt.new
	mv constraints.txt.new constraints.txt; rm constraints.new

image-requirements: $(READY)   ## renew the hashes of deploy/images from constraints.txt
	echo 'setuptools>=80' > build.in
	$(BIN)/uv pip compile --quiet --no-config --no-header --no-annotate --generate-hashes --python-version 3.11 \
	    --python-platform x86_64-unknown-linux-gnu --extra infer --extra hdf5 --constraint constraints.txt \
	    pyproject.toml build.in -o hashes.txt
	awk '/^[a-z]/ {cuda = /^(torch|triton|nvidia-|cuda-)/} {print > ("deploy/images/" (cuda ? "torch-cuda.txt" : "requirements.txt"))}' hashes.txt
	rm build.in hashes.txt

clean:
	rm -rf $(VENV) demo-out dist docs/_build docs/reference/api docs/explanation/design docs/tutorials/*-out docs/tutorials/tutorial-*
