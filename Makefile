# make serve   install, export the default checkpoint if needed, start the service (MODE=fast: behind HAProxy)
# make test    install, lint, types, every test; says at the end what was left out
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
# compat: the checkout itself is put on the path, so that Ray's processes also find bench, which the wheel leaves out.
EDITABLE := --config-settings editable_mode=compat
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
ONNX ?=
MODE ?= simple
# The integration tests whose result depends on the HTTP front end
FRONT_END_TESTS := $(addprefix tests/integration/test_,front_door.py http.py split.py fallback.py deadline.py logs.py)
ONCE_MORE := --reruns 1 --rerun-show-tracebacks -r fER
UP_ARGS ?=
FILES ?=

.PHONY: install serve stop split monitor test check unit integration export chaos mutants help
help:
	@sed -n 's/^# make/make/p' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV) (a minute or two the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "no $(PYTHON) here; name one of 3.11 to 3.13: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) $(EDITABLE) -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) $(EDITABLE) -c constraints.txt -e '.[dev]'
	@touch $@

# make install  the environment that the checks and tests need
install: $(DEV_STAMP)

# make export  write artifacts/demo if it is missing or of another checkpoint
export: $(STAMP)
	@$(BIN)/python -m export --if-stale

serve: export
	@$(BIN)/python -m serve_app.local up --mode $(MODE) $(UP_ARGS)

# make stop    end all that `make serve` started, and nothing else
stop:
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m serve_app.local down; else echo "nothing is running"; fi

# make split ONNX=0.3   move the traffic; ONNX=0 is the rollback
split: $(STAMP)
	@test -n "$(ONNX)" || { echo "give the share of ONNX: make split ONNX=0.3" >&2; exit 2; }
	@$(BIN)/python -m serve_app.local split $(ONNX)

# make monitor  Prometheus on the running service, until Ctrl-C
monitor: $(STAMP)
	@$(BIN)/python -m serve_app.local.monitor

# make check   lint, imports between the rooms, types
check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

# make unit    the tests that need no Ray; fails if they run less than 95 % of serve_app and export
unit: $(DEV_STAMP)
	$(BIN)/python -m pytest -q --cov --cov-report=term tests/unit tests/contract tests/config

# make integration   the tests on a real Ray; MODE=fast runs them behind HAProxy
integration: $(DEV_STAMP)
	$(BIN)/python -m pytest -q tests/integration --mode $(MODE)

# make mutants   small changes to the code that decides, one at a time; prints those that no unit test notices
mutants: $(DEV_STAMP)
	@$(BIN)/python -m tests.mutants $(FILES)

# The tests that depend on the HTTP front end run behind both, the others once. On shared cores, a test with a dozen
# processes can fail by chance: it runs once more, and the summary shows both. `make integration` has no second chance.
test: check export unit
	$(BIN)/python -m pytest tests/integration $(ONCE_MORE)
	$(BIN)/python -m pytest --mode fast $(ONCE_MORE) $(FRONT_END_TESTS)
	@command -v promtool >/dev/null || echo "left out: every test that needs Prometheus; to run them too: apt-get install prometheus"

# make chaos   kill, hang and overload a service of its own (10 to 18 minutes); rewrites the tables of docs/reliability.md
chaos: $(DEV_STAMP) export
	$(BIN)/python -m bench.chaos
