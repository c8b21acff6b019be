# One line per thing a newcomer may want. The work is done in scripts/, one idea per file.

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test unit e2e nightly checkov bench lint fmt clean venv

BIN := .venv/bin
# Tests start the command hundreds of times: it runs from bytecode, as it does where it is installed.
unexport PYTHONDONTWRITEBYTECODE
# Tests of half a minute each that `make nightly` runs: generated requests (a shorter run is a unit test), many files, demos.
LONG := tests/e2e/test_cas_openapi.py tests/e2e/test_bad_input_images.py::test_a_hundred_thousand_files tests/e2e/test_make_demo.py

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## set everything up and show an attested service that got its password from a CAS; APP=flask-redis: another example
	@$(if $(APP),scripts/demo-app.sh '$(subst ','\'',$(APP))',scripts/demo.sh)

test: lint unit e2e ## set everything up and run every check and test

unit: venv ## run the tests that need no container engine
	@scripts/test-tools.sh
	$(BIN)/pytest -x -q -n auto --dist loadfile tests --ignore=tests/e2e

# A file's tests share images and a CAS, so one worker runs them; tests/e2e/conftest.py says which files start first.
e2e: venv ## run the tests that build images and start containers
	@scripts/engine.sh
	@scripts/test-tools.sh
	@scripts/test-images.sh || true
	@base=$$(scripts/base-image.sh) && ca=$$(scripts/ca-bundle.sh) && \
	export SCONECTL_TEST_BASE_IMAGE=$$base SCONECTL_TEST_CA_BUNDLE=$$ca && set -x && \
	$(BIN)/pytest -x -n auto --dist loadfile --no-loadscope-reorder tests/e2e tests/contract $(LONG:%=--deselect=%)

e2e-%: venv ## run the end-to-end tests of one example, like e2e-flask-redis
	@scripts/engine.sh
	@scripts/test-tools.sh
	@scripts/test-images.sh
	@base=$$(scripts/base-image.sh) && ca=$$(scripts/ca-bundle.sh) && \
	export SCONECTL_TEST_BASE_IMAGE=$$base SCONECTL_TEST_CA_BUNDLE=$$ca && set -x && \
	$(BIN)/pytest -x tests/e2e/test_$(subst -,_,$*).py

checkov: venv ## let checkov look at the charts, in an environment of its own
	@scripts/checkov.sh

nightly: venv checkov ## run the long campaigns: fuzzing, kill -9 under load, hostile clients, generated requests
	@scripts/test-tools.sh
	$(BIN)/python tests/fuzz/fuzz_sessions.py 50000
	$(BIN)/python tests/fuzz/fuzz_manifests.py 20000
	$(BIN)/python tests/nightly/kill_loop.py --kills 200
	$(BIN)/python tests/nightly/hostile_clients.py --seconds 600
	SCONECTL_TEST_EXAMPLES=200 $(BIN)/pytest -q tests/e2e/test_cas_openapi.py
	SCONECTL_TEST_FILE_SIZE=4294967297 $(BIN)/pytest -q tests/unit/protect/test_packs.py -k memory
	@scripts/engine.sh
	@scripts/test-images.sh
	@base=$$(scripts/base-image.sh) && ca=$$(scripts/ca-bundle.sh) && set -x && \
	export SCONECTL_TEST_BASE_IMAGE=$$base SCONECTL_TEST_CA_BUNDLE=$$ca && \
	$(BIN)/python tests/nightly/kill_apply.py --kills 100 && \
	SCONECTL_TEST_NATIVE_IMAGES=40 SCONECTL_TEST_SEED=$$(date +%F) $(BIN)/pytest -q -s tests/e2e/test_native_and_converted.py && \
	$(BIN)/python tests/nightly/pairs_of_builds.py --pairs 200 && \
	SCONECTL_TEST_KILLS=200 SCONECTL_TEST_SMALL_FILES=100000 SCONECTL_TEST_LARGE_FILE=1024 $(BIN)/pytest -q -s tests/e2e/test_volume_databases.py \
		tests/e2e/test_volume_faults.py && \
	SCONECTL_TEST_FILE_SIZE=4294967297 $(BIN)/pytest -q tests/e2e/test_bad_input_images.py -k 'large_file or hundred_thousand' && \
	$(BIN)/pytest -q tests/e2e/test_make_demo.py

bench: venv ## measure speed as ratios, all of them even if one misses its goal (see bench/README.md)
	-$(BIN)/python bench/start.py
	-$(BIN)/python bench/compile.py
	-$(BIN)/python bench/chart.py
	-$(BIN)/python bench/certificates.py
	-$(BIN)/python bench/rest.py
	-$(BIN)/python bench/sources.py
	-$(BIN)/python bench/protect.py
	@scripts/engine.sh
	@scripts/test-images.sh
	@base=$$(scripts/base-image.sh) && ca=$$(scripts/ca-bundle.sh) && \
	export SCONECTL_TEST_BASE_IMAGE=$$base SCONECTL_TEST_CA_BUNDLE=$$ca && \
	$(BIN)/python bench/assembly.py; $(BIN)/python bench/launcher.py; $(BIN)/python bench/volumes.py

lint: venv ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	MYPYPATH=tests $(BIN)/mypy bench

fmt: venv ## put the sources into the project's style
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## undo what demo and test started and made
	@scripts/clean.sh

venv:
	@scripts/venv.sh
