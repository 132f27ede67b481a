# make demo     see it work: environment, installation, a scene, a GeoPackage and a picture
# make test     the whole suite             make lint    format, style, types, layers
# make sweep    the suite with 20 times the property examples, and the tests marked `sweep`; about an hour
# make quality  how good MODEL is on the windows that `python -m samgeo.train.prepare` made: prompted, beside the baselines,
#               then without prompts and by a word on the sources of EVERYTHING and WORDS
# make speed    how fast it is; with REFERENCES, a folder with clones of segment-anything and sam2, beside those
# make plugin   the zip that QGIS installs      make plugin-test   its tests on Qt 6 and in real QGIS, installed if it can be
# make offline  a folder from which the plugin installs the engine without a network, for this system and Python
# make notebook-test   the notebook's map in JupyterLab and Chromium, which is installed if it can be
# make venv     only the environment        make clean   remove environment, caches and demo output
#
# PYTHON       which interpreter builds the environment (3.11, 3.12 or 3.13)
# VENV         where the environment lies
# TORCH_INDEX  where torch comes from, if not from pip's own index; for example
#              make demo TORCH_INDEX=https://host.example/cpu

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && { echo $$python; break; }; done)
VENV ?= .venv
TORCH_INDEX ?=
DEMO ?= demo
OFFLINE ?= dist/offline
TESTS ?= tests
WORKERS ?= 2
MODEL ?= samgeo-nano
EVERYTHING ?= buildings_oam_uganda fields_naip_us solar_gsi_japan trees_neon
WORDS ?= building:buildings_oam_uganda field:fields_naip_us solar:solar_gsi_japan
REFERENCES ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
GROUND := pyproject.toml constraints.txt Makefile

.PHONY: help venv dev demo test lint sweep quality speed plugin plugin-test offline notebook-test clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

venv: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Fix: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13. Fix: make PYTHON=..." >&2; exit 1; }
	@echo "Making the environment $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Fix on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: $(GROUND) | $(BIN)/python
	@echo "Installing samgeo into $(VENV) (torch is large; this happens once) ..."
	@$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch)
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what tests and checks need ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: venv
	@$(BIN)/samgeo demo $(DEMO)

# One thread a worker: the workers share the processors already.
test: dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not sweep" $(TESTS)

sweep: dev
	@OMP_NUM_THREADS=1 HYPOTHESIS_PROFILE=sweep SAMGEO_SCENES=2000 $(BIN)/python -m pytest -n $(WORKERS) --timeout 3600 $(TESTS)

lint: dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# GrabCut joins the table where OpenCV is installed (opencv-python-headless).
quality: venv
	@$(BIN)/python -m benchmarks.quality $(MODEL) --baselines
	@$(BIN)/python -m benchmarks.words everything $(EVERYTHING) --model $(MODEL)
	@$(foreach pair,$(WORDS),$(BIN)/python -m benchmarks.words $(subst :, ,$(pair)) --model $(MODEL);)

# The references import torchvision, sam2 also hydra and iopath; put what they need on PYTHONPATH.
SPEED := $(BIN)/python -m benchmarks.speed
speed: dev
	@$(if $(REFERENCES),$(SPEED) networks sam-vit-b --reference $(REFERENCES)/segment-anything --everything)
	@$(if $(REFERENCES),$(SPEED) networks sam2.1-hiera-tiny --reference $(REFERENCES)/sam2)
	@$(SPEED) nano
	@$(SPEED) pipeline

plugin: venv
	@$(BIN)/python qgis_plugin/build.py

plugin-test: dev
	@$(BIN)/python qgis_plugin/build.py
	@qgis_plugin/test_qt6.sh
	@SAMGEO_PYTHON=$$PWD/$(BIN)/python qgis_plugin/test.sh

offline: venv
	@$(BIN)/python qgis_plugin/offline.py $(OFFLINE) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

notebook-test: dev
	@SAMGEO_PYTHON=$$PWD/$(BIN)/python tests/browser/test.sh

clean:
	rm -rf $(VENV) .venv-qgis .venv-notebook .venv-qt6 $(DEMO) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
