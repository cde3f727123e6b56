# make demo, make test: each makes what it needs. Nothing else has to be installed by hand.

PYTHON ?= python3
VENV := .venv
PINS := .venv-webui
GRADIO4 := .venv-gradio4
PY := $(VENV)/bin/python
PINS_PY := $(PINS)/bin/python
GRADIO4_PY := $(GRADIO4)/bin/python
PIP := -m pip install --quiet --disable-pip-version-check
REQUIREMENTS := requirements/torch.txt requirements/constraints.txt

# One waiting OpenMP thread can hold a core that another process needs.
export OMP_WAIT_POLICY ?= PASSIVE

# Python 3.10 is what the users have. tomllib is newer: the one import of it falls back to tomli (tests/boundaries).
PACKAGE := $(wildcard tinv_ext scripts install.py preload.py)
STRICT := $(wildcard tinv_ext/core tinv_ext/run tinv_ext/library tinv_ext/server/job_queue.py tinv_ext/server/templates.py \
    tinv_ext/hosts/*.py tinv_ext/hosts/webui tinv_ext/hosts/a1111 \
    tinv_ext/hosts/diffusers/host.py tinv_ext/hosts/diffusers/model.py tinv_ext/hosts/diffusers/pipelines.py)
WORKERS ?= 2
# A file stays with one worker: its tests share what is dear to make.
EVERYDAY := -m "not slow and not webui" -n $(WORKERS) --dist loadfile
# The wheels of the WebUI's versions exist for these.
PINS_CAN := $(shell $(PYTHON) -c 'import sys; print(int(sys.version_info[:2] in ((3, 10), (3, 11))))')

.PHONY: help venvs test test-today test-pins test-gradio4 test-slow test-webui webui-given faults soak lint format docs demo toy-report learn bench clean

help:
	@echo "make demo         teach the toy model one concept; results in demo/"
	@echo "make test         lint, types, and the everyday tests under today's and the WebUI's versions, the page also under gradio 4"
	@echo "make test-slow    the learning tests, and the slow ones of what a run survives"
	@echo "make test-webui   in a real WebUI: WEBUI=<its folder> WEBUI_PYTHON=<its python>, SCREENSHOTS=<folder> if wanted"
	@echo "make faults       kill N=200 runs in every phase, and N/10 from outside; resumed they come out bit for bit the same"
	@echo "make soak         STEPS=2000 steps with all that happens beside them, watched for memory and file handles"
	@echo "make lint|format  look at the style, or mend it"
	@echo "make docs         write the generated tables anew"
	@echo "make toy-report   what the toy model can do;   make learn: teach it each held-out concept"
	@echo "make bench        milliseconds per training image against the built-in trainer's way"

# --- environments: a stamp says that the pins are in --------------------------------------------------------------

$(VENV)/.stamp: $(REQUIREMENTS) requirements/today.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) $(PIP) -r requirements/torch.txt -c requirements/constraints.txt
	$(PY) $(PIP) -r requirements/today.txt
	touch $@

$(PINS)/.stamp: requirements/torch.txt requirements/webui-constraints.txt requirements/webui.txt requirements/ldm.txt
	test -x $(PINS_PY) || $(PYTHON) -m venv $(PINS)
	$(PINS_PY) $(PIP) -r requirements/torch.txt numpy==1.26.2 -c requirements/webui-constraints.txt
	$(PINS_PY) $(PIP) -r requirements/webui.txt
	$(PINS_PY) $(PIP) --no-deps -r requirements/ldm.txt
	touch $@

$(GRADIO4)/.stamp: requirements/torch.txt requirements/gradio4.txt requirements/gradio4-constraints.txt
	test -x $(GRADIO4_PY) || $(PYTHON) -m venv $(GRADIO4)
	$(GRADIO4_PY) $(PIP) -r requirements/torch.txt numpy==1.26.4 -c requirements/gradio4-constraints.txt
	$(GRADIO4_PY) $(PIP) -r requirements/gradio4.txt
	touch $@

venvs: $(VENV)/.stamp $(PINS)/.stamp $(GRADIO4)/.stamp

# --- tests ---------------------------------------------------------------------------------------------------------

test: lint test-today test-gradio4 test-pins

lint: $(VENV)/.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(STRICT)
	$(VENV)/bin/vermin --quiet --violations --target=3.10- --exclude tomllib $(PACKAGE)

test-today: $(VENV)/.stamp
	$(PY) -m pytest $(EVERYDAY)

ifeq ($(PINS_CAN),1)
test-pins: $(PINS)/.stamp
	$(PINS_PY) -m pytest $(EVERYDAY) -p no:cacheprovider
else
test-pins:
	@echo "NOT TESTED under the WebUI's versions: their wheels exist for Python 3.10 and 3.11. Set PYTHON to one of these."
	@test -z "$$CI"
endif

# The page is the only thing that gradio makes a difference to.
ifeq ($(PINS_CAN),1)
test-gradio4: $(GRADIO4)/.stamp
	$(GRADIO4_PY) -m pytest tests/ui $(EVERYDAY) -p no:cacheprovider
else
test-gradio4:
	@echo "NOT TESTED under gradio 4.40: the wheels of its set exist for Python 3.10 and 3.11. Set PYTHON to one of these."
	@test -z "$$CI"
endif

test-slow: $(VENV)/.stamp
	$(PY) -m pytest -m slow -v

N ?= 200
STEPS ?= 2000

faults: $(VENV)/.stamp
	$(PY) -m tests.faults.killing --hits $(N)
	$(PY) -m tests.faults.outside --hits $$(( ($(N) + 9) / 10 ))
	$(PY) -m pytest tests/faults -v

soak: $(VENV)/.stamp
	$(PY) -m tests.faults.soaking --steps $(STEPS)

# The environment with the WebUI's versions: it has gradio's own client, a browser's, and the same diffusers for both sides.
test-webui: webui-given $(PINS)/.stamp
	WEBUI="$(WEBUI)" WEBUI_PYTHON="$(WEBUI_PYTHON)" SCREENSHOTS="$(SCREENSHOTS)" \
	    $(PINS_PY) -m pytest tests/webui -m webui -v -p no:cacheprovider

webui-given:
	@test -n "$(WEBUI)" -a -n "$(WEBUI_PYTHON)" || { \
	    echo "NOT RUN: name a WebUI v1.10.1: make test-webui WEBUI=<its folder> WEBUI_PYTHON=<its python>"; exit 2; }

format: $(VENV)/.stamp
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# --- the work ------------------------------------------------------------------------------------------------------

demo: $(VENV)/.stamp
	$(PY) -m tinv_ext toy demo --output demo

toy-report: $(VENV)/.stamp
	$(PY) tools/toy/report.py

learn: $(VENV)/.stamp
	$(PY) tools/toy/learn.py

bench: $(VENV)/.stamp
	$(PY) bench/step.py

docs: $(VENV)/.stamp
	$(PY) tools/docs.py
	TINV_WRITE_DOCS=1 $(PY) -m pytest -q tests/core/formats/test_matrix.py -k documentation

clean:
	rm -rf demo build .pytest_cache .ruff_cache .mypy_cache .hypothesis
