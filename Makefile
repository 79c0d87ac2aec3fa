# Two commands do everything, set-up included: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.PHONY: demo setup test judges long lint lock bench clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# The compiled modules are built anew when one of their sources changes.
HOT := $(shell sed -n 's/^sources = \["\(.*\)"\]/\1/p' pyproject.toml; find streamkit -name '*.pxd')

demo: $(STAMP)  ## word count over real text, live in the terminal
	$(BIN)/python examples/word_count.py $(DEMO)

setup: $(STAMP)  ## make .venv with the locked dependencies

test: $(STAMP)  ## all tests that need Python only
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy & types=$$!  # beside the tests: there are two cores
	$(BIN)/python -m pytest tests -m 'not judge and not long' || { wait $$types; exit 1; }
	wait $$types

# As in Kafka's own build: of many servers on one machine one may stall. Up to three judges that fail
# are run a second time, on servers of their own, and what the first time said is shown.
judges: $(STAMP)  ## foreign clients and Java, live
	tests/judges/install
	$(BIN)/python -m pytest tests/judges -m 'judge and not long' \
	    --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks -rR

long: $(STAMP)  ## soaks, full seed counts
	tests/judges/install
	$(BIN)/python -m pytest tests -m long

bench: $(STAMP)  ## speed, beside the peers
	tests/judges/install
	$(BIN)/python -m benchmarks.run

lint: $(STAMP)
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# The package of flight data is read as a file: the libraries it would import are left out.
lock:  ## resolve the dependencies anew
	uv pip compile --universal --python-version 3.11 --all-extras --generate-hashes --no-header \
	    --no-emit-index-url --no-annotate \
	    --no-emit-package pandas --no-emit-package numpy --no-emit-package python-dateutil \
	    --no-emit-package tzdata --no-emit-package six -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build streamkit.egg-info
	find streamkit -name '*.so' -delete -o -name '*.c' -delete

$(STAMP): pyproject.toml requirements.lock $(HOT)
	@test -n "$(PYTHON)" || { echo "streamkit needs Python 3.11 or later; none was found" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	find streamkit -name '*.so' -delete -o -name '*.c' -delete
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/streamkit --version
	touch $@
