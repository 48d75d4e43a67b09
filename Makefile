# Everything happens in this clone: .venv for the packages, runs/ for results. Only pip's own cache lies elsewhere.
#   make dry-run      a closed-loop trial on the emulator, set up first where needed
#   make test         every ordinary test; make test-slow: full statistics; make soak: full counts
#   make lint         ruff, mypy on the seams, generated pages up to date
#   make bench        the benchmarks, quick form; make bench QUICK= for the full one
#   make system       libiio and its command line tools (root): for radios and for tests of the emulated daemon
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := dry-run
.PHONY: dry-run test test-slow soak lint bench system docs venv clean

TORCH ?= cpu
QUICK ?= --quick
ARGS ?=
TESTS ?= tests
JOBS ?= 2
VENV := .venv
READY := $(VENV)/.ready-$(TORCH)
BIN := $(VENV)/bin
# The CPU build of torch is 0.2 GB where the usual one with CUDA is 4. Where pip finds it first, nothing is to be said; elsewhere name the
# index that holds it: make dry-run INDEX="--extra-index-url ADDRESS".
INDEX ?=
# Tests run side by side, so each keeps to one thread of the numerical libraries.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest

dry-run: $(READY)
	@$(BIN)/hil run examples/quickstart $(ARGS)

test: $(READY)
	@if [ "$$(id -u)" = 0 ]; then echo "root: installing what drivers want (make system)"; \
	  $(MAKE) --no-print-directory system || echo "system libraries not installed: tests that want them are skipped by name"; fi
	@$(PYTEST) -n $(JOBS) $(TESTS) $(ARGS)

test-slow: $(READY)
	@$(PYTEST) -n $(JOBS) -m slow $(TESTS) $(ARGS)

soak: $(READY)
	@$(PYTEST) -n $(JOBS) -m soak $(TESTS) $(ARGS) || [ $$? = 5 ]
	@$(BIN)/python -m benchmarks.soak --write docs/measured.md

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m docs.generate --check

docs: $(READY)
	@$(BIN)/python -m docs.generate

bench: $(READY)
	@failed=0; for name in start agreement designers depths design multicell drops medium link record loop iiod radio; do \
	  echo "== benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name $(QUICK) || failed=1; done; exit $$failed

system:
	@if ldconfig -p 2>/dev/null | grep -q 'libiio\.so\.0' && command -v iio_info >/dev/null; then echo "libiio, libiio-utils: there"; \
	elif ! command -v apt-get >/dev/null; then echo "libiio 0.24 ... 0.26 or its tools are missing; fix: install them with this system's packages"; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then echo "libiio 0.24 ... 0.26 or its tools are missing; fix: sudo make system"; exit 1; \
	else apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y libiio0 libiio-utils >/dev/null && echo "libiio, libiio-utils: installed"; fi

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	@began=$$SECONDS; python=""; \
	for one in python3.11 python3 python3.12 python3.13; do \
	  if "$$one" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$one; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "error[no-python] this machine: no Python 3.11 or later that can make environments was found" >&2; \
	  echo "  fix: Debian/Ubuntu \`apt install python3.11 python3.11-venv\`, or put another python3 >= 3.11 first in PATH" >&2; exit 2; fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then rm -rf $(VENV); "$$python" -m venv $(VENV); fi; \
	rm -f $(VENV)/.ready-*; \
	echo ".venv   installing, a few minutes the first time" >&2; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --retries 1 -c constraints.txt $(INDEX) torch; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[radio,design,emulate,report,sweep,dev]'; \
	version=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	count=$$($(BIN)/python -m pip list --format=freeze --disable-pip-version-check | wc -l); \
	build="CPU build of torch (0.2 GB instead of 4; \`make dry-run TORCH=cuda\` for the other)"; \
	if [ "$(TORCH)" != cpu ]; then build="$(TORCH) build of torch"; fi; \
	echo ".venv   Python $$version, $$count packages, $$build      $$((SECONDS - began)) s, once" >&2; \
	touch $(READY)

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
