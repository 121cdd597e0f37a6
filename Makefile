# `make demo` and `make test` set up what they need on a machine with Python 3.11 or newer.
PYTHON_BIN := .venv/bin/python
SETUP_INPUTS := pyproject.toml constraints.txt scripts/setup.sh

# Shapes in signatures are checked by `make test-all`, except where Hugging Face reads signatures.
MODELS := rope transformer vision_encoder global_frame_attention camera_head dense_head metric_depth box_votes \
	vggt cross_task_adapter patch_3d grounding_head object_queries language_model vidllm initialisation \
	precision public_depth compilation from_teachers category_encoder
COMMA := ,
EMPTY :=
CHECKED := geometry video export losses inference $(addprefix models.,$(MODELS))
SHAPES := $(subst $(EMPTY) $(EMPTY),$(COMMA),$(addprefix vidllm.,$(CHECKED)))

.DEFAULT_GOAL := help
.PHONY: help setup setup-rooms dev demo test test-all bench bench-rooms check clean distclean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

ifdef EXTRAS
setup: ## Set up .venv (EXTRAS=app,train adds optional groups, PYTHON=... chooses the interpreter)
	@bash scripts/setup.sh core
else
setup: .venv/.ready-core
	@echo ".venv is ready"
endif

dev: .venv/.ready-dev ## Set up .venv with what tests and checks need
	@echo ".venv is ready for tests and checks"

.venv/.ready-core: $(SETUP_INPUTS)
	@bash scripts/setup.sh core

.venv/.ready-dev: $(SETUP_INPUTS)
	@bash scripts/setup.sh dev

setup-rooms: .venv/.ready-dev ## Also install and pack the furniture, and OpenGL, for `vidllm rooms` (Debian)
	@bash scripts/setup_rooms.sh

demo: .venv/.ready-core ## Ask about, ground in and reconstruct the example clip
	@$(PYTHON_BIN) -m vidllm demo

test: .venv/.ready-dev ## Run the quick tests
	@$(PYTHON_BIN) -m pytest -m "not slow"

test-all: .venv/.ready-dev ## Run every test, with shapes checked where nothing is compiled
	@$(PYTHON_BIN) -m pytest --jaxtyping-packages=$(SHAPES),beartype.beartype
	@$(PYTHON_BIN) -m pytest tests/models/test_compilation.py tests/models/test_transformer.py

bench: .venv/.ready-dev ## Run the benchmarks
	@$(PYTHON_BIN) benchmarks/run.py
	@$(PYTHON_BIN) benchmarks/reconstruction.py

bench-rooms: .venv/.ready-dev ## Measure how fast rooms are made
	@$(PYTHON_BIN) benchmarks/rooms.py

check: .venv/.ready-dev ## Lint, formatting and types
	@$(PYTHON_BIN) -m ruff check .
	@$(PYTHON_BIN) -m ruff format --check .
	@$(PYTHON_BIN) -m ty check src

clean: ## Remove build products and caches
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	@find src tests scripts examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Also remove .venv
	@rm -rf .venv
