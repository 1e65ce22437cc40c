# Two commands for a fresh machine: `make demo` and `make test`. Each builds its environment first (.ci/environment.py);
# that of the demo holds nothing of what only the tests need.
# PYTHON=/path/to/python3 chooses the Python it is made from; PYTEST_ARGS passes options on to pytest.

.PHONY: help demo test check gpu fuzz python-path clean distclean
.DEFAULT_GOAL := help

environment = python="$$(sh .ci/environment.sh)" && "$$python" -m
demo_environment = python="$$(sh .ci/environment.sh --demo)" && "$$python" -m

help:
	@echo "make demo         set up, then make demo/out.mp4 (a sample video with a new sound), out.png and turbo.mp4"
	@echo "make test         set up, then check, then run all tests but the benchmarks"
	@echo "make check        set up, then formatting, lint and types"
	@echo "make gpu          set up, then measure and test this machine's NVIDIA GPU in under eight minutes; build/gpu/ holds the"
	@echo "                  tables (GPU_OUT=DIR: another folder). PYTHON=python3 takes that interpreter as it is, without"
	@echo "                  setting up: it needs torch, torchaudio, transformers, accelerate, safetensors, einops, numpy, pytest"
	@echo "make fuzz         set up, then ten minutes of the property tests with many new examples"
	@echo "make python-path  set up, then print the tests' interpreter (use: make -s python-path)"
	@echo "make clean        remove what the other targets left in this folder"
	@echo "make distclean    also remove the environments from the cache"

demo:
	@mkdir -p demo
	@$(demo_environment) audiox_core generate --model demo --text "a steady drum beat" --steps 50 --overwrite \
		--video audiox_core/media/assets/sample.mp4 -o demo/out.mp4 --spectrogram demo/out.png
	@$(demo_environment) audiox_core generate --model demo-turbo --text "a steady drum beat" --overwrite \
		--video audiox_core/media/assets/sample.mp4 -o demo/turbo.mp4
	@echo "Made demo/out.mp4 (the sample video with a new soundtrack) and demo/out.png (its spectrogram),"
	@echo "and demo/turbo.mp4 in the four steps of the distilled model."
	@echo "The demo model has random weights, so the sound is noise: it shows that everything runs."

test: check
	@$(environment) pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -q --cov --cov-report=term --ignore=tests/benchmarks $(PYTEST_ARGS)

check:
	@$(environment) ruff format --check .
	@$(environment) ruff check .
	@$(environment) mypy

gpu:
	@$(if $(PYTHON),"$(PYTHON)" -m,$(environment)) pytest tests/gpu -q $(PYTEST_ARGS)

fuzz:
	@$(environment) tests.benchmarks.fuzz --seconds 600

python-path:
	@sh .ci/environment.sh

clean:
	rm -rf demo build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@sh .ci/environment.sh --remove
