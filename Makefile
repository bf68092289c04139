# make run     train an adapter model on the bundled sample: per-domain table, results, plots
# make test    the test suite, or TESTS=tests/metrics of it (test-slow: the long ones; lint: ruff)
# make bench   time a training step of several batch sizes, against PyTorch restatements as well,
#              and of every multi-domain model
# make samples write the generated samples under data/ again
# The first of them builds .venv; it needs Python 3.10 to 3.12 and nothing else installed.
# PINS=lowest, as in `make test PINS=lowest`: the lowest versions that requirements.txt allows,
# in .venv-lowest.

PINS ?=
VENV ?= .venv$(addprefix -,$(PINS))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
	2>/dev/null && echo $$p && break; done)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
BENCH_FLAGS ?= --batches 64 512 2048 4096
MODELS_FLAGS ?=
# Most of a test's time is single-threaded compilation; files stay together and share what they compile.
TEST_PROCESSES ?= 2
TESTS ?= tests
export GLOG_v ?= 3

.PHONY: run test test-slow bench lint format samples clean

run: $(VENV)/installed
	$(PY) examples/run_movielens_rank_multi_domain.py --plot

test: $(VENV)/installed
	$(PY) -m pytest $(TESTS) -m "not slow" -n $(TEST_PROCESSES) --dist loadfile --durations=25

test-slow: $(VENV)/installed
	$(PY) -m pytest $(TESTS) -m slow --durations=25

bench: $(VENV)/installed-bench
	$(PY) tests/benchmarks/train_step.py $(BENCH_FLAGS)
	$(PY) tests/benchmarks/ranking_models.py $(MODELS_FLAGS)

lint: $(VENV)/installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/installed
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

samples: $(VENV)/installed
	$(PY) -c "from hamur.data.synthetic import write_samples; write_samples('data')"

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis kernel_meta
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: requirements.txt setup.py
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.12 with venv found: make PYTHON=..."; exit 1; }
	@echo "installing into $(VENV) with $(PYTHON) (once)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(if $(PINS),$(PY) tests/support/$(PINS)_versions.py > $(VENV)/constraints.txt)
	$(PIP) install -e ".[test]" $(if $(PINS),--constraint $(VENV)/constraints.txt)
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) install -e ".[bench]"
	@touch $@
