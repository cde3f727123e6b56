# Everything runs in virtual environments that these targets make themselves: `make help` lists them.
# PYTHON chooses the interpreter they are made with: make demo PYTHON=python3.11

PYTHON ?= python3
TODAY := .venv
WEBUI_PINS := .venv-webui
GRADIO_4 := .venv-gradio4
FUZZING := .venv-fuzz
PY := $(TODAY)/bin/python
WEBUI_PINS_PY := $(WEBUI_PINS)/bin/python
GRADIO_4_PY := $(GRADIO_4)/bin/python
# What is not compiled here is compiled when it is first imported, and much never is.
PIP := -m pip install --quiet --disable-pip-version-check --no-compile

# A waiting OpenMP thread would otherwise spin on a core that another process needs.
export OMP_WAIT_POLICY ?= PASSIVE

# Checked for names that Python 3.10 lacks. tomllib is one: its only import falls back to tomli (tests/boundaries).
PYTHON_310 := tinv_ext scripts install.py preload.py
STRICT := tinv_ext
WORKERS ?= 2
# --dist loadfile: the tests of a file share expensive fixtures, so they stay with one worker. Files in the order that
# tests/conftest.py gives them: xdist would begin with those of the most tests, which are the quick ones.
WORKING := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
EVERYDAY := -m "not slow and not full and not webui" $(WORKING)
EVERYDAY_AND_SLOW := -m "not full and not webui" $(WORKING)
OTHER_VERSIONS := -m "not slow and not full and not webui and not once" $(WORKING)
# The WebUI's versions have wheels for these Pythons only.
HAS_WEBUI_WHEELS := $(shell $(PYTHON) -c 'import sys; print(int(sys.version_info[:2] in ((3, 10), (3, 11))))' 2>/dev/null)

.PHONY: help python venvs test test-page lint-page test-today test-webui-pins test-gradio-4 test-slow test-webui webui-given test-forge test-neo test-reforge test-classic faults fuzz fuzz-api soak \
    lint format docs demo toy-report learn bench gpu gpu-packages clean

help:
	@echo "make demo          teach a tiny model two things it has never seen, results in demo/ (about 2 minutes;"
	@echo "                   the first time it also installs 1.5 GB of packages into .venv)"
	@echo "make test          style, types and the everyday tests, under three sets of package versions (about 10 minutes;"
	@echo "                   the first time it also downloads 5 GB of packages into .venv, .venv-webui and .venv-gradio4)"
	@echo "make test SLOW=1   the same with the slow tests among them, in less time than by make test-slow afterwards"
	@echo "make test-today    only the everyday tests, only under current versions (about 2 minutes)"
	@echo "make test-slow     the tests that train until something is learned, and the slow crash tests (about 15 minutes)"
	@echo "make test-webui    the whole workflow in a real WebUI, with a browser:"
	@echo "                   WEBUI=<its folder> WEBUI_PYTHON=<its python> [SCREENSHOTS=<folder>]"
	@echo "make test-forge    a run in a real Forge, with a browser; make test-neo, test-reforge, test-classic: in theirs:"
	@echo "                   SIBLING=<its folder> SIBLING_PYTHON=<its python> [SCREENSHOTS=<folder>]"
	@echo "make faults        kill N=200 runs at random moments; each must resume and end bit for bit the same"
	@echo "make fuzz          fuzz the readers of files for SECONDS=600, guided by coverage (Python 3.11; its own .venv-fuzz)"
	@echo "make fuzz-api      fuzz the HTTP routes for SECONDS=600 with schemathesis (in .venv-fuzz, too)"
	@echo "make soak          one run of STEPS=2000 steps with previews and pauses, watched for leaks of memory and files"
	@echo "make lint          check style and types;  make format: fix the style"
	@echo "make docs          rewrite the generated tables in docs/"
	@echo "make toy-report    measure how good the toy model is;  make learn: teach it every held-out concept, by each preset"
	@echo "make bench         time a training step beside the built-in trainer's, diffusers' and kohya's way, and the optimizers;"
	@echo "                   FULL=1: at the real shapes of every family, too (on a machine with 64 GB of memory)"
	@echo "make gpu           prove and measure the engine on a GPU in at most 8 minutes, with the PYTHON that has torch there;"
	@echo "                   make gpu-packages first, where diffusers is missing: it fills build/gpu-packages to carry along"
	@echo "make clean         delete results and caches, but not the environments"

# --- environments ----------------------------------------------------------------------------------------------------
# The file .stamp in each says that its requirements are installed; it is older than a requirements file that changed.

python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Install Python 3.10 or newer," \
	    "or name one: make PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1), but Python 3.10 or newer is needed. Name a newer one: make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments." \
	    "Install its venv module (Debian and Ubuntu: apt install python3-venv)."; exit 2; }

$(TODAY)/.stamp: requirements/torch.txt requirements/today-constraints.txt requirements/today.txt | python
	@echo "Installing current versions of torch, diffusers and the tools into $(TODAY) (1.5 GB, some minutes)."
	@test -x $(PY) || $(PYTHON) -m venv $(TODAY)
	@$(PY) $(PIP) -r requirements/torch.txt -c requirements/today-constraints.txt
	@$(PY) $(PIP) -r requirements/today.txt
	@touch $@

$(WEBUI_PINS)/.stamp: requirements/torch.txt requirements/webui-1.10-constraints.txt requirements/webui-1.10.txt \
    requirements/webui-1.10-ldm.txt | python
	@echo "Installing the versions of WebUI v1.10.1 into $(WEBUI_PINS) (1.6 GB, some minutes)."
	@test -x $(WEBUI_PINS_PY) || $(PYTHON) -m venv $(WEBUI_PINS)
	@$(WEBUI_PINS_PY) $(PIP) -r requirements/torch.txt numpy==1.26.2 -c requirements/webui-1.10-constraints.txt
	@$(WEBUI_PINS_PY) $(PIP) -r requirements/webui-1.10.txt
	@$(WEBUI_PINS_PY) $(PIP) --no-deps -r requirements/webui-1.10-ldm.txt
	@touch $@

$(GRADIO_4)/.stamp: requirements/torch.txt requirements/gradio-4-constraints.txt requirements/gradio-4.txt | python
	@echo "Installing gradio 4 and what works with it into $(GRADIO_4) (1.6 GB, some minutes)."
	@test -x $(GRADIO_4_PY) || $(PYTHON) -m venv $(GRADIO_4)
	@$(GRADIO_4_PY) $(PIP) -r requirements/torch.txt numpy==1.26.4 -c requirements/gradio-4-constraints.txt
	@$(GRADIO_4_PY) $(PIP) -r requirements/gradio-4.txt
	@touch $@

# For `make fuzz` and `make fuzz-api`; atheris has wheels for few Pythons.
$(FUZZING)/.stamp: requirements/torch.txt requirements/today-constraints.txt requirements/today.txt requirements/fuzz.txt | python
	@echo "Installing atheris, schemathesis and current versions of torch and the rest into $(FUZZING) (1.5 GB, some minutes)."
	@test -x $(FUZZING)/bin/python || $(PYTHON) -m venv $(FUZZING)
	@$(FUZZING)/bin/python $(PIP) -r requirements/torch.txt -c requirements/today-constraints.txt
	@$(FUZZING)/bin/python $(PIP) -r requirements/today.txt -r requirements/fuzz.txt
	@touch $@

ifeq ($(HAS_WEBUI_WHEELS),1)
OTHER_VENVS := $(GRADIO_4)/.stamp $(WEBUI_PINS)/.stamp
else
OTHER_VENVS := python
endif

venvs: $(TODAY)/.stamp $(WEBUI_PINS)/.stamp $(GRADIO_4)/.stamp

# --- tests -----------------------------------------------------------------------------------------------------------

# The other versions are installed while the first are tested.
test: $(TODAY)/.stamp
	@nice $(MAKE) --no-print-directory $(OTHER_VENVS) & others=$$!; \
	$(MAKE) --no-print-directory lint test-page test-today; found=$$?; \
	wait $$others && exit $$found
	@$(MAKE) --no-print-directory test-gradio-4 test-webui-pins

# The page's script needs no build step; its checks need npm. Where there is none they are left out, but not in CI.
HAS_NPM := $(shell command -v npm 2>/dev/null)

ifneq ($(HAS_NPM),)
node_modules/.stamp: package.json package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

lint-page: node_modules/.stamp
	npm run --silent lint

test-page: node_modules/.stamp
	npm test --silent
else
lint-page test-page:
	@echo "$@ is SKIPPED: it needs node and npm."
	@test -z "$$CI"
endif

lint: lint-page $(TODAY)/.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(STRICT)
	$(TODAY)/bin/vermin --quiet --violations --target=3.10- --exclude tomllib $(PYTHON_310)

test-today: $(TODAY)/.stamp
	$(PY) -m pytest $(if $(SLOW),$(EVERYDAY_AND_SLOW),$(EVERYDAY))

ifeq ($(HAS_WEBUI_WHEELS),1)
test-webui-pins: $(WEBUI_PINS)/.stamp
	$(WEBUI_PINS_PY) -m pytest $(OTHER_VERSIONS) -p no:cacheprovider

# gradio makes a difference to the page alone; what it does by itself (`once`) is tested here.
test-gradio-4: $(GRADIO_4)/.stamp
	$(GRADIO_4_PY) -m pytest tests/ui $(EVERYDAY) -p no:cacheprovider
else
test-webui-pins test-gradio-4:
	@echo "$@ is SKIPPED: it needs Python 3.10 or 3.11 (make test PYTHON=python3.11)."
	@test -z "$$CI"
endif

test-slow: $(TODAY)/.stamp
	$(PY) -m pytest -m "slow and not full" -v $(WORKING)

N ?= 200
STEPS ?= 2000
SECONDS ?= 600

faults: $(TODAY)/.stamp
	$(PY) -m tests.faults.killing --hits $(N)
	$(PY) -m tests.faults.outside --hits $$(( ($(N) + 9) / 10 ))
	$(PY) -m pytest tests/faults tests/core/training/test_fallbacks.py tests/ranks tests/cli/test_queue.py \
	    tests/server/test_other_devices.py -v

fuzz: $(FUZZING)/.stamp
	$(FUZZING)/bin/python -m tests.hostile.fuzzing --seconds $(SECONDS)

fuzz-api: $(FUZZING)/.stamp
	$(FUZZING)/bin/python -m tests.hostile.fuzzing_api --seconds $(SECONDS)

soak: $(TODAY)/.stamp
	$(PY) -m tests.faults.soaking --steps $(STEPS)

# Runs in the environment with the WebUI's versions, which has gradio's client, a browser's, and the same diffusers.
test-webui: webui-given $(WEBUI_PINS)/.stamp
	WEBUI="$(WEBUI)" WEBUI_PYTHON="$(WEBUI_PYTHON)" SCREENSHOTS="$(SCREENSHOTS)" \
	    $(WEBUI_PINS_PY) -m pytest tests/webui -m webui -v -p no:cacheprovider

# A real Forge, Forge Neo, reForge or Classic.
test-forge test-neo test-reforge test-classic: test-%: $(WEBUI_PINS)/.stamp
	@test -n "$(SIBLING)" -a -n "$(SIBLING_PYTHON)" || { \
	    echo "Name one: make $@ SIBLING=<its folder> SIBLING_PYTHON=<its python>"; exit 2; }
	SIBLING="$(SIBLING)" SIBLING_PYTHON="$(SIBLING_PYTHON)" SIBLING_NAME=$* SCREENSHOTS="$(SCREENSHOTS)" \
	    $(WEBUI_PINS_PY) -m pytest tests/siblings -m webui -v -p no:cacheprovider

webui-given:
	@test -n "$(WEBUI)" -a -n "$(WEBUI_PYTHON)" || { \
	    echo "Name a WebUI v1.10.1: make test-webui WEBUI=<its folder> WEBUI_PYTHON=<its python>"; exit 2; }

format: $(TODAY)/.stamp
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(if $(HAS_NPM),npm run --silent format)

# --- the toy, figures, documentation ---------------------------------------------------------------------------------

demo: $(TODAY)/.stamp
	@$(PY) -m tinv_ext toy demo --output demo

toy-report: $(TODAY)/.stamp
	$(PY) tools/toy/report.py

learn: $(TODAY)/.stamp
	$(PY) -m pytest tests/toy -m slow -v
	$(PY) tools/toy/learn.py
	$(PY) tools/toy/recipes.py

FULL ?=
bench: $(TODAY)/.stamp
	$(PY) bench/peers.py $(if $(FULL),--full)
	$(PY) bench/optimizers.py
	$(if $(FULL),$(PY) bench/step.py)

# On a machine lent for it: nothing is installed there, and nothing downloaded.
GPU_FLAGS ?=
gpu:
	$(PYTHON) tools/gpu.py $(GPU_FLAGS)

gpu-packages: $(TODAY)/.stamp
	$(PY) -m tools.on_gpu.carried

docs: $(TODAY)/.stamp
	$(PY) tools/docs.py
	TINV_WRITE_DOCS=1 $(PY) -m pytest -q tests/core/formats/test_matrix.py -k documentation

clean:
	rm -rf demo build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
