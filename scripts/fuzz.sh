#!/usr/bin/env bash
# Runs the fuzz targets of tests/fuzz for a short while each, on stable Rust and without cargo-fuzz.
#
#   scripts/fuzz.sh [--seconds N] [TARGET...]
#
# Every target by default, 20 seconds each. Begins with the seeds in tests/fuzz/corpus/TARGET; what the
# fuzzer finds besides stays under the target directory and is taken up by the next run. Fails on the
# first crash, hang (10 s) or use of more than 1 GiB, and prints the file that causes it; to see it again:
#
#   $CARGO_TARGET_DIR/fuzz/HOST/release/TARGET FILE
#
# To add a target: a file and a [[bin]] in tests/fuzz (the module under test taken in by #[path], so that
# its crate's dependencies need not be built), and some seeds in tests/fuzz/corpus/NAME. What needs those
# libraries all the same is in tests/fuzz/linked; it builds for minutes, once.
set -euo pipefail
work=$(realpath -m "${CARGO_TARGET_DIR:-$(dirname "$0")/../target}")/fuzz
cd "$(dirname "$0")/../tests/fuzz"

seconds=20
targets=()
while (($#)); do
    case $1 in
        --seconds) seconds=${2:?needs a number}; shift 2 ;;
        -*) echo "usage: scripts/fuzz.sh [--seconds N] [TARGET...]" >&2; exit 2 ;;
        *) targets+=("$1"); shift ;;
    esac
done
((${#targets[@]})) || mapfile -t targets < <(sed -n '/^\[\[bin\]\]/{n;s/^name = "\(.*\)"/\1/p}' Cargo.toml linked/Cargo.toml)

# What `cargo fuzz --sanitizer none` sets: libFuzzer's view on edges, comparisons and divisions. These
# are options of LLVM, not of rustc, so stable takes them. --target keeps them out of build scripts.
export RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-trace-divs"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --workspace --target "$host" --target-dir "$work" "${targets[@]/#/--bin=}"

for target in "${targets[@]}"; do
    mkdir -p "$work/corpus/$target" "$work/crashes"
    echo "fuzzing $target for $seconds s"
    if ! "$work/$host/release/$target" "$work/corpus/$target" "corpus/$target" -artifact_prefix="$work/crashes/$target-" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=1 2>"$work/$target.log"; then
        tail -n 40 "$work/$target.log" >&2
        echo "fuzz target $target failed: see above and $work/$target.log" >&2
        exit 1
    fi
    grep -E '^stat::(number_of_executed_units|peak_rss_mb)' "$work/$target.log"
done
