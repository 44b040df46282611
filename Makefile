# Two commands are all the set-up there is: `make demo` and `make test`. Each prepares .venv by itself
# with the versions of requirements.lock, and does nothing where it is up to date.
.POSIX:
.PHONY: demo test campaign check bench docs setup lock clean

VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/ready
# The first interpreter that runs and is one of the supported versions.
FIND_PYTHON = for p in $$PYTHON python3.11 python3.12 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& { command -v $$p; exit 0; }; done; \
	echo "nightrain needs Python 3.11 or 3.12 with venv and ensurepip (Debian: python3-venv);" \
	"set PYTHON=/path/to/python if it is not on the PATH" >&2; \
	exit 1

demo: $(READY)
	$(BIN)/nightrain demo

test: $(READY)
	$(BIN)/pytest -n 3

campaign: $(READY)
	$(BIN)/pytest -n 2 -m campaign --hypothesis-profile campaign

# Types are checked while the tests run, and reported after them.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@report="$$(mktemp)"; $(BIN)/pyright >"$$report" 2>&1 & types=$$!; failed=0; \
	trap 'kill $$types; rm -f "$$report"; exit 1' INT TERM; \
	$(MAKE) test || failed=1; \
	wait $$types || failed=1; cat "$$report"; rm -f "$$report"; exit $$failed

bench: $(READY)
	$(BIN)/python -m nightrain.benchmarks.all

# Into site/, without network; a warning is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV) (half a minute on a fast network)"
	@test -x $(BIN)/python || { python="$$($(FIND_PYTHON))" && "$$python" -m venv $(VENV); }
	@test -x $(BIN)/uv || { $(BIN)/python -m ensurepip >/dev/null && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $(READY)

# Pins only: no index address and no hash of one index may get into the file.
lock:
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--no-emit-index-url --no-header --upgrade --quiet -o requirements.lock

clean:
	rm -rf $(VENV) demo
