# make serve   install, export the default checkpoint if needed, start the service, print how to use it;
#              MODE=fast puts it behind HAProxy (docs/performance.md)
# make test    install, lint, types, every test
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
ONNX ?=
MODE ?= simple
BEHIND_THE_DOOR := $(addprefix tests/integration/test_,front_door.py http.py split.py fallback.py deadline.py logs.py)
ONCE_MORE := --reruns 1 --rerun-show-tracebacks -r fER
UP_ARGS ?=

.PHONY: serve stop split monitor test check unit integration export chaos help
help:
	@sed -n 's/^# make/make/p' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV) (a minute or two the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "no $(PYTHON) here: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

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
	@test -n "$(ONNX)" || { echo "say which share goes to ONNX: make split ONNX=0.3" >&2; exit 2; }
	@$(BIN)/python -m serve_app.local split $(ONNX)

# make monitor  Prometheus on the running service, until Ctrl-C
monitor: $(STAMP)
	@$(BIN)/python -m serve_app.local.monitor

# make check   lint and types
check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# make unit    the tests that need no Ray
unit: $(DEV_STAMP)
	$(BIN)/python -m pytest -q tests/unit tests/contract tests/config

# make integration   the tests on a real Ray; MODE=fast for the other front door
integration: $(DEV_STAMP)
	$(BIN)/python -m pytest -q tests/integration --mode $(MODE)

# Both front doors; what does not depend on them once. On cores that are shared, a test with a dozen processes may fail
# by chance: it is run once more, and the summary shows both. `make integration` gives no second chance.
test: check export unit
	$(BIN)/python -m pytest tests/integration $(ONCE_MORE)
	$(BIN)/python -m pytest --mode fast $(ONCE_MORE) $(BEHIND_THE_DOOR)

# make chaos   kill, freeze and overload a service of its own (8 to 15 minutes); rewrites the tables of docs/reliability.md
chaos: $(DEV_STAMP) export
	$(BIN)/python -m bench.chaos
