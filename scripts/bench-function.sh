#!/usr/bin/env bash
# What it costs to show pictures of 896x504 to a Python function that does nothing: see tests/bench/function.rs.
#
#     scripts/bench-function.sh
#
# Builds release programs first. Wants a machine with nothing else to do.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh tests
cargo build --release --workspace --bins >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'def look(frame, meta):\n    return None\n' > "$work/own.py"
target=${CARGO_TARGET_DIR:-target}
"$target/release/cv-function" "python:$work/own.py:look" "$target/python/venv/bin/python"
