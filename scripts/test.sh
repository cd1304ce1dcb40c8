#!/usr/bin/env bash
# Every check there is, as CI runs them: ends at the first that fails and says which.
#
#     scripts/test.sh             everything
#     scripts/test.sh --quick     format, lints and tests beside the code; no release build
#     scripts/test.sh --camera    and the camera against a virtual device (or CV_CAMERA=1; minutes)
#     scripts/test.sh --package   and the Debian packages (installs cargo-deb where it is missing; minutes)
#
# CV_SHARED names the folder with clips and rigs (default ../shared). Tests that lack them say SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=''
camera=${CV_CAMERA:-}
package=''
for argument in "$@"; do
    case $argument in
        --quick) quick=1 ;;
        --camera) camera=1 ;;
        --package) package=1 ;;
        *) echo "usage: scripts/test.sh [--quick] [--camera] [--package]" >&2; exit 2 ;;
    esac
done
shared=$(cd "${CV_SHARED:-../shared}" 2> /dev/null && pwd) || shared=
if [ -n "$shared" ]; then
    export CV_SHARED=$shared
else
    echo "SKIPPED: what needs clips, for want of ${CV_SHARED:-../shared}; name the folder in CV_SHARED" >&2
fi
release=${CARGO_TARGET_DIR:-target}/release

# check WHAT COMMAND...: runs it under a header, with its time; the first failure ends everything.
# The command stands in no condition, so that a function stops at its own first failure, too.
check() {
    local started=$SECONDS
    current=$1
    printf '\n== %s\n' "$current"
    "${@:2}"
    printf '== %s: ok, %d s\n' "$current" $((SECONDS - started))
}
current=setup
# shellcheck disable=SC2317 # reached through the trap
verdict() {
    local status=$?
    [ "$status" = 0 ] || printf '\nFAILED: %s (status %d, after %d s)\n' "$current" "$status" "$SECONDS" >&2
}
trap verdict EXIT

lockfile() {
    cargo metadata --locked --format-version 1 --quiet > /dev/null
}

scripts() {
    shellcheck -x scripts/*.sh .ci/run scripts/deb/*/*
    python3 -c 'import ast, sys; [ast.parse(open(name).read()) for name in sys.argv[1:]]' scripts/*.py
}

# What a user has to have installed beside the programs: nothing but the C and C++ runtime.
linkage() {
    local program foreign
    [ "$(uname)" = Linux ] || return 0
    for program in cv-sender cv-receiver; do
        foreign=$(ldd "$release/$program" |
            awk '{ sub(".*/", "", $1) } $1 !~ /^(linux-vdso|linux-gate|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux[^.]*)\.so/')
        if [ -n "$foreign" ]; then
            echo "$program links to more than the C and C++ runtime:"$'\n'"$foreign" >&2
            return 1
        fi
    done
}

# Linking fails without it on x86 (src/assembly.rs); this looks at what the linker was given.
assembly() {
    local routines
    case $(uname -m) in x86_64 | aarch64 | arm64) ;; *) return 0 ;; esac
    routines=$(nm "$release"/build/openh264-sys2-*/out/libopenh264_*.a 2> /dev/null | grep -cE ' [Tt] .*_(sse2|neon)$') || true
    if [ "$routines" = 0 ]; then
        echo "OpenH264 was built without its assembly: install nasm, cargo clean -p openh264-sys2, build again" >&2
        return 1
    fi
}

# What the unit may do; above 2.0 of 10 something was opened that need not be.
exposure() {
    if ! command -v systemd-analyze > /dev/null; then
        echo "SKIPPED: the unit's exposure, for want of systemd-analyze" >&2
        return 0
    fi
    systemd-analyze security --no-pager --offline=yes --threshold=20 scripts/systemd/cv-receiver.service | tail -n 1
}

untouched() {
    local after
    after=$(git status --porcelain)
    [ "$before" = "$after" ] || { echo "the checks changed the working tree:"$'\n'"$after" >&2; return 1; }
}

before=$(git status --porcelain)
level=tests
if [ -n "$shared" ] && [ -d "$shared/peers" ] && [ -z "$quick" ] && [ "$(uname)" = Linux ]; then
    level=peers
elif [ -z "$quick" ]; then
    echo "SKIPPED: foreign WebRTC programs; on Linux ${CV_SHARED:-../shared}/peers drives them; NONE WAS TESTED" >&2
fi
# shellcheck source=scripts/setup.sh
source scripts/setup.sh "$level"

check format cargo fmt --all --check
check 'Cargo.lock is up to date' lockfile
check scripts scripts
check 'files of the packages' scripts/package.sh --check
check 'confinement of the service' exposure
check lints cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
if [ -n "$quick" ]; then
    check 'tests beside the code' cargo nextest run --locked --workspace --lib --bins
    echo "QUICK: end-to-end tests, fuzzing, documentation and the release build were left out"
    exit 0
fi
check 'programs for the tests' cargo build --locked --workspace --bins --quiet
CV_SKIPPED=$(mktemp)
export CV_SKIPPED
check tests cargo nextest run --locked --workspace
sort -u "$CV_SKIPPED" >&2
rm -f "$CV_SKIPPED"
check 'examples in the documentation' cargo test --locked --workspace --doc --quiet
# Private items, too: the documentation is for whoever changes the code.
check documentation env RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --locked --workspace --no-deps --document-private-items --quiet
check fuzzing scripts/fuzz.sh --seconds 10
check 'release build' cargo build --locked --release --workspace --bins --quiet
check 'linked to nothing foreign' linkage
check 'codec built with assembly' assembly
if [ -n "$camera" ]; then
    check camera scripts/test-camera.sh
else
    printf '\nSKIPPED: scripts/test-camera.sh; NO CAMERA WAS TESTED (--camera or CV_CAMERA=1 does, in minutes)\n'
fi
if [ -n "$package" ]; then
    check packages scripts/package.sh
else
    printf '\nSKIPPED: the Debian packages (--package builds them)\n'
fi
check 'working tree untouched' untouched
printf '\nAll checks passed in %d s.\n' "$SECONDS"
