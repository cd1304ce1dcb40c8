#!/usr/bin/env bash
# Days in minutes: one receiver among steady, short, killed and bad clients, watched for anything that grows.
# See scripts/soak.py.
#
#     scripts/soak.sh [--minutes N] [--json]
#
# Builds release programs first. Loopback only.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh build
command -v python3 > /dev/null || { echo "soak: needs python3 (any, no packages)" >&2; exit 1; }
cargo build --release --workspace --bins >&2
exec python3 scripts/soak.py --bin "${CARGO_TARGET_DIR:-target}/release" "$@"
