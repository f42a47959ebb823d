# `make run` and `make test` are all that a fresh machine with git, make and Python 3.11 needs.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
OLDEST := .venv-oldest

.DEFAULT_GOAL := help
.PHONY: help run dev keys test test-oldest test-all fuzz bench bench-quick tools verify lock clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# make hands HOST, PORT, WORKERS and SERVER on to the commands below, from its own command line or
# from the environment. These are without shell syntax: then make itself is the parent of the
# service, which ends when make ends (--with-parent), also when make is killed.

run: $(VENV)/service  ## Start the service: HOST=127.0.0.1 PORT=8000 WORKERS=2 SERVER=granian|gunicorn
	@$(BIN)/python -m service --with-parent

dev: $(VENV)/service  ## Start Flask's development server, which reloads what you edit: HOST, PORT
	@$(BIN)/python -m service.dev --with-parent

keys: $(VENV)/service  ## List the keys of the running service's store: PORT
	@$(BIN)/python -m service.keys

test: $(VENV)/dev  ## Format, lint, types, layers and all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 4 -m 'not slow' $(TESTS)

test-oldest:  ## Test the library with the oldest versions of what it needs (Python 3.11, 3.12)
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
		$(MAKE) $(OLDEST)/oldest && \
		$(OLDEST)/bin/pytest -n 4 -m 'not slow' $(or $(TESTS),$(OLDEST_TESTS)); \
	else echo 'SKIPPED: test-oldest, since the oldest versions have no wheels for this Python'; fi

test-all: test test-oldest  ## The slow proofs, too: they load servers, one after the other
	$(BIN)/pytest -m slow $(TESTS)

# Without a wheel for this Python and machine, tests.fuzz says that it skips.
fuzz: $(VENV)/dev  ## Feed parsers and decoders with made-up input: FUZZ_SECONDS=60 for each
	-@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes -r requirements/fuzz.txt
	@$(BIN)/python -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),60)

bench: $(BENCH)/bench  ## Measure side by side, in about twenty minutes: docs/benchmarks; ONLY=ab for a part
	@$(BENCH)/bin/python -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-quick: $(BENCH)/bench  ## The same in about four minutes, into a directory that it names
	@$(BENCH)/bin/python -m benchmarks --quick $(if $(ONLY),--only $(ONLY))

tools:  ## Install what some tests need beyond Python (Debian, Ubuntu; as root)
	.ci/tools

verify:  ## Build, start and break the containers; needs Docker
	deploy/verify

OLDEST_TESTS = $(addprefix tests/,core contract flask redis filesystem memcached wsgi conformance \
	service/test_universities.py service/test_universities_api.py)

UV_LOCK = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command 'make lock'
SERVICE = pyproject.toml --extra service --extra embedded --group build

lock:  ## Write requirements/*.txt anew from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	$(UV_LOCK) --upgrade $(SERVICE) --group test --group check -o requirements/dev.txt
	$(UV_LOCK) -c requirements/dev.txt $(SERVICE) -o requirements/service.txt
	$(UV_LOCK) -c requirements/dev.txt pyproject.toml --extra service -o requirements/image.txt
	$(UV_LOCK) -c requirements/dev.txt --group build -o requirements/build.txt
	$(UV_LOCK) -c requirements/dev.txt $(SERVICE) --group bench -o requirements/bench.txt
	$(UV_LOCK) -c requirements/dev.txt --group fuzz -o requirements/fuzz.txt
	$(UV_LOCK) --resolution lowest-direct $(SERVICE) --group test -o requirements/oldest.txt

clean:  ## Remove the virtual environment and all caches
	rm -rf $(VENV) $(BENCH) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/pip $(BENCH)/pip $(OLDEST)/pip: %/pip:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3' >&2; exit 1; }
	$(PYTHON) -m venv $*
	@touch $@

$(VENV)/service $(VENV)/dev: $(VENV)/%: requirements/%.txt pyproject.toml | $(VENV)/pip
	$(call install,$(VENV))

$(BENCH)/bench: $(BENCH)/%: requirements/%.txt pyproject.toml | $(BENCH)/pip
	$(call install,$(BENCH))

$(OLDEST)/oldest: $(OLDEST)/%: requirements/%.txt pyproject.toml | $(OLDEST)/pip
	$(call install,$(OLDEST))

define install
	$1/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	$1/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
endef
