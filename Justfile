# `just` lists the recipes. The environment lies in .venv; `just setup` makes it.

set shell := ["bash", "-euo", "pipefail", "-c"]

venv := env("MDIFF_VENV", justfile_directory() / ".venv")
python := venv / "bin/python"

# List what there is
default:
    @just --list --justfile {{ justfile() }}

# Install mdiff with everything that training and testing need into .venv
setup:
    test -x {{ python }} || python3 -m venv {{ venv }}
    {{ python }} -m pip install --quiet --editable '.[train,dev]'

# Train, score and bill a small model on this machine, in about six minutes
demo *ARGS:
    {{ venv }}/bin/mdiff demo {{ ARGS }}

# All tests; those that need an engine or a GPU are skipped where there is none
test *ARGS:
    {{ python }} -m pytest {{ ARGS }}

# Formatting, lint, types, arrows between the folders
check:
    {{ venv }}/bin/ruff check mdiff cli tests
    {{ venv }}/bin/ruff format --check mdiff cli tests
    {{ venv }}/bin/mypy
    {{ venv }}/bin/lint-imports --no-logo

# Rewrite the code in the house format
format:
    {{ venv }}/bin/ruff check --fix mdiff cli tests
    {{ venv }}/bin/ruff format mdiff cli tests

# Run benchmarks (all, or by name) and append their results to tests/bench/results
bench *NAMES:
    {{ python }} -m tests.bench {{ NAMES }}

# Delete what tools leave behind; runs and data stay
clean:
    rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Rewrite the golden texts of tests/golden, on purpose; look at the difference before you commit it
golden:
    MDIFF_WRITE_GOLDEN=1 {{ python }} -m pytest -q tests/launch/test_sbatch.py

# Rewrite the job in deploy/pytorchjob.yaml as a dry run prints it
manifests:
    MDIFF_WRITE_GOLDEN=1 {{ python }} -m pytest -q tests/launch/test_deploy.py

# Write tests/bench/RESULTS.md from the rows of all benchmarks
results:
    {{ python }} -m tests.bench.results_page
