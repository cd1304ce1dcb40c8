#!/usr/bin/env bash
# What a picture costs in the product, beside what it must cost: see scripts/bench.py.
#
#     scripts/bench.sh [--json] [--seconds N] [--sessions N]
#
# Builds release programs first. Wants a machine with nothing else to do.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh build
command -v python3 > /dev/null || { echo "bench: needs python3 (any, no packages)" >&2; exit 1; }
cargo build --release --workspace --bins >&2
exec python3 scripts/bench.py --bin "${CARGO_TARGET_DIR:-target}/release" "$@"
