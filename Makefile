# make serve    start darkroom on http://127.0.0.1:8000   (ARGS="--port 9000" for other settings)
# make test     run every test, in two processes   (WORKERS=4 for more, TESTS="tests/server -k auth" for some tests in one)
# make test-cuda    run the tests of the CUDA paths on a pretended CUDA device (a GPU is not needed, g++ is, once)
# make test-variant   run the tests of pixels and of time in another environment   (VARIANT=avx2, VARIANT=single)
# make check    formatting, lint, types, and which module may import which
# make clients  install other clients of the Images API, with which `make test` then tests as well
# make clean    forget the virtual environment

PYTHON ?= python3
ARGS ?=
TESTS ?=
WORKERS ?= 2

cuda_tests := tests/cuda tests/bench/test_gpu.py tests/pipelines/test_engine.py tests/pipelines/test_passes.py \
	tests/pipelines/test_worker.py tests/pipelines/models/test_loras.py tests/pipelines/models/test_pool.py \
	tests/pipelines/models/test_residence.py

# Environments in which other kernels, or one thread, compute the same numbers.
VARIANT ?= default
environment-default := ATEN_CPU_CAPABILITY=default
environment-avx2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
environment-single := OMP_NUM_THREADS=1
variant_tests := $(addprefix tests/, \
	pipelines/lanes pipelines/models/test_keeping.py pipelines/tasks pipelines/test_passes.py \
	pipelines/test_preview.py pipelines/test_reading.py server/answering server/handover)

bin := .venv/bin
pip := $(bin)/python -m pip --disable-pip-version-check -q

in_processes = --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

.PHONY: serve test test-cuda test-variant check clients clean

serve: .venv/serve.stamp
	$(bin)/darkroom serve $(ARGS)

# All of them in several processes, each file in one: what a file shares is made once.
test: .venv/test.stamp
	$(bin)/python -m pytest $(or $(TESTS),$(in_processes))

test-variant: .venv/test.stamp
	$(if $(environment-$(VARIANT)),,$(error VARIANT is default, avx2 or single, not $(VARIANT)))
	$(environment-$(VARIANT)) $(bin)/python -m pytest $(or $(TESTS),$(in_processes) $(variant_tests))

# In processes of their own: pretending a device changes torch for all tests in a process.
test-cuda: .venv/test.stamp
	DARKROOM_TEST_DEVICE=cuda:0 $(bin)/python -m pytest $(or $(TESTS),--numprocesses=$(WORKERS) --dist=worksteal $(cuda_tests))

check: .venv/test.stamp
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/lint-imports

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "darkroom needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

# The exact versions of constraints.txt are the ones that were tested.
.venv/serve.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing darkroom into .venv; the first time this takes a few minutes."
	$(pip) install --constraint constraints.txt --editable .
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing darkroom and its test tools into .venv; the first time this takes a few minutes."
	$(pip) install --constraint constraints.txt --editable '.[test]'
	@touch $@ .venv/serve.stamp

clients: .venv/clients/openai-1.stamp .venv/clients/frameworks.stamp tests/clients/node/node_modules

.venv/clients/%.stamp: tests/clients/python/%.txt | .venv/bin/python
	$(PYTHON) -m venv --clear --without-pip $(basename $@)
	$(pip) --python $(basename $@)/bin/python install --requirement $<
	@touch $@

tests/clients/node/node_modules: tests/clients/node/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund
	@touch $@

clean:
	rm -rf .venv tests/clients/node/node_modules
