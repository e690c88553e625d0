# make demo | test | lint | bench | test-arm | test-full | clean: each makes what it needs.
PY := .venv/bin/python
SOURCES := pyproject.toml setup.py edgecnn/_core.pyx $(wildcard kernels/*)
PIP := -m pip --quiet --disable-pip-version-check install --no-build-isolation
export PIP_ROOT_USER_ACTION := ignore

.PHONY: demo test lint bench test-arm test-full clean

demo: .venv/.demo
	$(PY) tools/fetch_assets.py efficientnet trees
	$(PY) examples/demo.py

test: .venv/.test
	$(PY) -m pytest -q

test-full: .venv/.test
	EDGECNN_TEST_FULL=1 $(PY) -m pytest -q

lint: .venv/.lint
	$(PY) -m ruff check .
	$(PY) -m mypy
	EDGECNN_WERROR=1 $(PY) setup.py -q build_ext --build-temp build/lint --build-lib build/lint --force

bench: .venv-bench/.bench
	.venv-bench/bin/python -m benchmarks.run

test-arm: .venv/.test
	tools/arm/test.sh

clean:
	rm -rf build arm .venv .venv-bench out edgecnn/_core.c edgecnn/*.so *.egg-info

.venv/bin/python:
	tools/venv.sh .venv

.venv-bench/bin/python:
	tools/venv.sh .venv-bench

# One stamp for each set of extras; pip builds the extension in place whenever a source has changed.
.venv/.%: $(SOURCES) | .venv/bin/python
	$(PY) $(PIP) -e '.[$*]'
	@touch $@

.venv-bench/.bench: $(SOURCES) | .venv-bench/bin/python
	.venv-bench/bin/python $(PIP) -e '.[bench]'
	@touch $@
