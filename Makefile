# The one list of commands. Paths are relative throughout, and programs are started as
# `.venv/bin/python -m NAME`, so that a folder with a space in its path works.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz test-env lint types bench leaderboard docs clean force
.NOTPARALLEL:

help:  ## show this list
	@echo "make demo    install, train on the embedded digits, show the table and the picture"
	@echo "make test    install what tests need and run them (PYTEST_ARGS='-k mix -x' goes to pytest)"
	@echo "make fuzz    10,000 layouts of folders, dialects of tables, lists and .npz files (some twenty minutes)"
	@echo "make lint    ruff, import layers, dead code"
	@echo "make types   mypy"
	@echo "make bench   time and memory on this machine, recorded in results/ and docs/speed.md (BENCH_ARGS=--check: fail on a missed target)"
	@echo "make leaderboard  every method on the digits, 5 seeds, recorded in results/digits and docs/leaderboard.md"
	@echo "make docs    write the tables of README.md and docs/ anew from results/, and docs/settings.md from the code"
	@echo "make clean   remove .venv, caches and build leftovers (runs/ and data/ stay)"
	@echo "make help    this list"
	@echo
	@echo "The virtual environment .venv is built with python3; another one: make PYTHON=python3.12 test"

demo: .venv/ready
	.venv/bin/python -m fsgl train digits

test: test-env
	.venv/bin/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

fuzz: test-env
	FSGL_FUZZ=10000 .venv/bin/python -m pytest tests/data/readers/test_layout_fuzz.py tests/data/readers/test_own_fuzz.py

# Everything that `make test` needs, without running it.
test-env: .venv/ready-test

lint: .venv/ready-dev
	.venv/bin/python -m ruff check .
	.venv/bin/python -c "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
	.venv/bin/python -m vulture

types: .venv/ready-dev
	.venv/bin/python -m mypy

# Records are moved into results/ when all are measured: a changed file there would mark the next one's commit "+changes".
bench: .venv/ready
	@rm -rf build/bench && mkdir -p build/bench
	@code=0; \
	for name in step augmentation scaling decoding "decoding --flat 100000"; do \
		set -- $$name; script=benchmarks/$$1.py; shift; \
		.venv/bin/python $$script "$$@" --record build/bench $(BENCH_ARGS) || code=1; \
	done; \
	.venv/bin/python benchmarks/speed.py --record build/bench $(filter-out --check,$(BENCH_ARGS)) || code=1; \
	mv build/bench/*.json results/ || code=1; \
	.venv/bin/python -m benchmarks.pages.results || code=1; \
	exit $$code

# Every method on the embedded digits, 5 seeds: see docs/leaderboard.md. Interrupted, the same command goes on.
leaderboard: .venv/ready
	rivals=$$(.venv/bin/python -c "from fsgl.recipes.rivals import RIVALS; print(*RIVALS, *(n + '+sam' for n in RIVALS))"); \
	.venv/bin/python -m fsgl compare $$rivals \
		cross-entropy+tau-norm cross-entropy+max-norm cross-entropy+logit-adjustment \
		glmc glmc-balanced-softmax glmc-sam glmc-balanced-softmax+sam fsgl fsgl-same fsgl-half fsgl-inverse \
		--data digits --seeds 5 evaluation.every=10 --runs runs/leaderboard --record results/digits
	.venv/bin/python -m benchmarks.pages.results

docs: .venv/ready
	.venv/bin/python -m benchmarks.pages.results
	.venv/bin/python -m benchmarks.pages.settings

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment -------------------------------------------------------------------
#
# .venv/made        the environment exists; holds the folder it was made for, because an editable
#                   install points there and a moved or copied checkout would import the old one
# .venv/installing  pip is at work; left behind, it was killed half way
# .venv/ready*      that set of requirements is installed
#
# An environment that is half made, moved, broken or of another version than the PYTHON asked for is built anew.

asked := $(if $(filter file,$(origin PYTHON)),,$(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null))
sound := $(shell test ! -e .venv/installing && test "$$(cat .venv/made 2>/dev/null)" = "$$(pwd -P)" \
	&& .venv/bin/python -c 'import pip, sys; sys.exit("$(asked)" not in ("", "%d.%d" % sys.version_info[:2]))' 2>/dev/null \
	&& echo yes)

.venv/made: $(if $(sound),,force)
	@command -v "$(PYTHON)" >/dev/null || { echo "make: no '$(PYTHON)' here; name a Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "make: fsgl needs Python 3.11, 3.12 or 3.13, and %s is %d.%d; name another: make PYTHON=python3.12" % ((sys.executable,) + v))'
	rm -rf .venv
	"$(PYTHON)" -m venv .venv
	@pwd -P > .venv/made

# $(call install,REQUIREMENT): pip's own failures (no network, say) leave the environment as it was.
define install
@touch .venv/installing
.venv/bin/python -m pip install --disable-pip-version-check -e '$(1)' || { rm -f .venv/installing; exit 1; }
@rm -f .venv/installing
endef

# A larger set holds the smaller ones, so that `make demo` after `make test` installs nothing.
.venv/ready: .venv/made pyproject.toml
	$(call install,.)
	@touch .venv/ready

.venv/ready-test: .venv/made pyproject.toml
	$(call install,.[test])
	@touch .venv/ready .venv/ready-test

.venv/ready-dev: .venv/made pyproject.toml
	$(call install,.[dev])
	@touch .venv/ready .venv/ready-test .venv/ready-dev
