# make demo | test | lint | bench | test-arm | test-full | clean: each makes its own virtual environment and the extension.
PY := .venv/bin/python
BENCH := .venv-bench/bin/python
PIP := -m pip --quiet --disable-pip-version-check install --no-build-isolation
SOURCES := pyproject.toml setup.py edgecnn/_core.pyx $(wildcard kernels/*)
export PIP_ROOT_USER_ACTION := ignore

.PHONY: demo test lint bench test-arm test-full clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

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
	$(PY) tools/build_kernels.py $${CC:-gcc} native build/c/native

bench: .venv-bench/.bench
	$(BENCH) benchmarks/run.py

test-arm: .venv/.ready
	tools/arm/test.sh

clean:
	rm -rf build arm .venv .venv-bench out edgecnn/_core.c edgecnn/*.so *.egg-info

.venv/.ready .venv-bench/.ready:
	tools/venv.sh $(@D)
	@touch $@

# The package and its extension, again whenever a source has changed; objects of kernels that did not are kept in build/.
.venv/.built: $(SOURCES) | .venv/.ready
	$(PY) $(PIP) -e .
	@touch $@

# One stamp for each set of extras. The package itself is there already, so that pip fetches only what the extras name.
.venv/.%: pyproject.toml | .venv/.built
	$(PY) $(PIP) 'edgecnn[$*]'
	@touch $@

.venv-bench/.bench: $(SOURCES) | .venv-bench/.ready
	$(BENCH) $(PIP) -e '.[bench]'
	@touch $@
