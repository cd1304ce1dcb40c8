#!/usr/bin/env bash
# A receiver under attack, beside senders that are none of it: see scripts/siege.py.
#
#     scripts/siege.sh [--json] [--seconds N] [--half-open N] [--rate N] [quiet|storm|half-open|kill]...
#
# Builds release programs first. Wants a machine with nothing else to do. Loopback only.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh build
command -v python3 > /dev/null || { echo "siege: needs python3 (any, no packages)" >&2; exit 1; }
cargo build --release --workspace --bins >&2
exec python3 scripts/siege.py --bin "${CARGO_TARGET_DIR:-target}/release" "$@"
