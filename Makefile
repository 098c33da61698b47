# Every command of the project. `make help` lists them. Needs Python >= 3.11 and make, nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
comma := ,
ONLY ?=
PARTS := $(subst $(comma), ,$(ONLY))

SERVICES := $(notdir $(patsubst %/pyproject.toml,%,$(wildcard services/*/pyproject.toml)))
PROJECTS := shared $(addprefix services/,$(SERVICES)) infra/local infra/cli
UNIT := $(wildcard shared/tests services/*/tests infra/*/tests)
PURE_LAYERS := contracts architecture replay simulation
REAL_LAYERS := integration e2e
TEST_PARTS := lint types imports fast $(REAL_LAYERS)
WORKERS ?= 2
# a run says why an empty layer passes, and fails on everything else
pytest = $(BIN)/pytest $(1) || { status=$$?; \
  if [ $$status -eq 5 ]; then echo "no tests collected there yet: passes"; else exit $$status; fi; }

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  ONLY=a,b picks parts: test ($(TEST_PARTS) unit $(PURE_LAYERS)), bench (B1..), faults (F1..)"

## --- environment

.PHONY: setup
setup: $(VENV)/.ready ## environment in .venv, nothing else; instant when nothing changed

$(VENV)/.ready: requirements-dev.txt $(addsuffix /pyproject.toml,$(PROJECTS))
	@command -v $(PYTHON) >/dev/null || { echo "expected $(PYTHON) on the PATH, but there is none" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"expected Python 3.11 or newer, but $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.12")'
	@[ -x $(PY) ] && $(PY) -c 'import pip' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV) || { \
	  echo "expected python -m venv to work; on Debian: apt install python3-venv" >&2; exit 1; }; }
	@echo "installing the pinned packages into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
	  --only-binary :all: --require-hashes -r requirements-dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
	  --no-deps --no-build-isolation $(addprefix -e ,$(PROJECTS))
	@$(PY) -m compileall -q -j 0 $(VENV)/lib $(PROJECTS) >/dev/null 2>&1 || true  # pays at each start
	@touch $@

.PHONY: pins
pins: ## resolve anew and write the pinned exports with hashes
	@$(BIN)/uv lock --quiet --upgrade
	@$(BIN)/uv export --quiet --no-header --no-annotate --all-packages --all-extras --group dev \
	  --no-emit-workspace -o requirements-dev.txt
	@for service in $(SERVICES); do \
	  $(BIN)/uv export --quiet --no-header --no-annotate --no-dev --package outlast-$${service//_/-} \
	    --no-emit-workspace -o services/$$service/requirements.txt; done
	@! grep -nE '^--?(extra-)?index-url|^-i |^--find-links' requirements-dev.txt services/*/requirements.txt

## --- the running system

.PHONY: run
run: export PMAP_RUNBOOK_ENGINE ?= workflow
run: setup ## Kafka, Postgres, every service and the sample runbooks; returns and leaves it all up
	@$(BIN)/outlast up --sample

.PHONY: stop
stop: ## end what `make run` started
	@if [ -x $(PY) ]; then $(PY) -m outlast_local down; else echo "nothing ran"; fi

.PHONY: status
status: setup ## what runs
	@$(PY) -m outlast_local status

## --- checks

.PHONY: test
test: setup ## everything; ONLY=unit,integration picks parts
	@for part in $(or $(PARTS),$(TEST_PARTS)); do \
	  echo "== $$part"; start=$$SECONDS; $(MAKE) test-$$part; echo "== $$part passed in $$((SECONDS - start)) s"; done

.PHONY: verify
verify: setup ## all checks that need no servers
	@$(MAKE) test ONLY=lint,types,imports,fast

.PHONY: lint
lint: setup test-lint test-imports ## style and import rules
.PHONY: types
types: setup test-types ## strict types
.PHONY: fmt
fmt: setup ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
.PHONY: contracts
contracts: setup ## write contracts/ from the types; what is stale fails the tests
	@$(PY) -m outlast.testing.contracts

.PHONY: test-lint test-types test-imports test-fast test-unit
test-lint:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
	  git ls-files -z | xargs -0 $(BIN)/check-added-large-files --enforce-all --maxkb=1024; \
	  git ls-files -z | xargs -0 $(BIN)/detect-private-key; \
	  git ls-files -z | xargs -0 $(BIN)/check-merge-conflict --assume-in-merge; fi
test-types:
	@$(BIN)/basedpyright --warnings
test-imports:
	@$(BIN)/lint-imports --no-logo
test-fast:
	@$(call pytest,-q -n $(WORKERS) $(UNIT) $(wildcard $(addprefix tests/,$(PURE_LAYERS))))
test-unit:
	@$(call pytest,-q -n $(WORKERS) $(UNIT))

# one target per layer, and none for a name that is no layer
PURE_TARGETS := $(addprefix test-,$(PURE_LAYERS))
REAL_TARGETS := $(addprefix test-,$(REAL_LAYERS))
# files that share a system of their own; journeys of two files share one
DIST = loadfile
test-e2e: DIST = loadgroup
.PHONY: $(PURE_TARGETS) $(REAL_TARGETS)
$(PURE_TARGETS): test-%:
	@if [ -d tests/$* ]; then $(call pytest,-q -n $(WORKERS) tests/$*); else echo "tests/$* does not exist yet"; fi
$(REAL_TARGETS): test-%:
	@if [ -d tests/$* ]; then $(call pytest,-q -n $(WORKERS) --dist $(DIST) tests/$*); \
	else echo "tests/$* does not exist yet"; fi

## --- measurements

# a group that is not built says so: silence would look like success
runner = if [ -f $(1)/__main__.py ]; then $(PY) -m $(subst /,.,$(1)) $(2); \
  else echo "$(1) has no runner yet: nothing was measured" >&2; exit 2; fi

.PHONY: bench bench-large faults
bench bench-large: export PMAP_RUNBOOK_ENGINE ?= workflow
bench: setup ## speed, the quick group; ONLY=B1,B2
	@$(call runner,tests/bench,$(if $(ONLY),--only $(ONLY)))
bench-large: setup ## speed, the long group
	@$(call runner,tests/bench,$(if $(ONLY),--only $(ONLY),--long))
faults: setup ## kill and corruption tests; ONLY=F1
	@$(call runner,tests/faults,$(if $(ONLY),--only $(ONLY)))

.PHONY: clean
clean: stop ## stop, and remove the environment, the data and the caches of this clone
	@data=$$(readlink -f .outlast/data/postgres || true); \
	  case "$$data" in /var/tmp/outlast-*) rm -rf "$$(dirname "$$data")";; esac
	@rm -rf $(VENV) .outlast .pytest_cache .ruff_cache .hypothesis .import_linter_cache
