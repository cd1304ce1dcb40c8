#!/usr/bin/env bash
# Installs what building needs and is not there yet; says what and why. Does nothing where all is there.
#
#     scripts/setup.sh            what `cargo build --release` needs
#     scripts/setup.sh tests      and what scripts/test.sh needs
#
# Looks for programs and headers, not for packages, so what was installed by other means counts.
# Debian and Ubuntu by apt-get, macOS by Homebrew; elsewhere it lists what is missing. The other
# scripts source this file, so that a fresh cargo is on their PATH.

setup_rust=1.90 # rust-version in Cargo.toml

setup_has() { command -v "$1" > /dev/null 2>&1; }
setup_say() { echo "setup: $*" >&2; }
setup_die() { setup_say "$*"; return 1; }

# The library that bindgen loads: in the linker's cache or in LLVM's own folder.
setup_has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' > /dev/null ||
        ldconfig -p 2> /dev/null | grep -q libclang
}

# One line for each thing that is missing: PACKAGE and the reason.
setup_missing_linux() {
    setup_has c++ || echo 'build-essential the codecs are C and C++'
    setup_has nasm || echo 'nasm their assembly: without it they run three times slower'
    setup_has clang || echo 'clang headers of the compiler, to read those of the kernel'
    setup_has_libclang || echo 'libclang-dev reads the kernel headers for cameras'
    [ -e /usr/include/linux/videodev2.h ] || echo 'linux-libc-dev the kernel headers for cameras'
    setup_has curl || setup_has cargo || echo 'curl fetches Rust'
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo 'ca-certificates HTTPS, for crates'
    setup_has git || echo 'git tells what a build left behind'
    if [ "$1" = tests ]; then
        setup_has ffmpeg || echo 'ffmpeg reads containers other than MP4; tests compare with it'
        setup_has shellcheck || echo 'shellcheck checks these scripts'
        setup_has python3 || echo 'python3 runs the benchmark'
    fi
}

setup_missing_macos() {
    setup_has nasm || echo 'nasm assembly of the codecs: without it they run three times slower'
    if [ "$1" = tests ]; then
        setup_has ffmpeg || echo 'ffmpeg reads containers other than MP4; tests compare with it'
        setup_has shellcheck || echo 'shellcheck checks these scripts'
    fi
}

# Installs the packages of the lines on stdin with the command given, and says why.
setup_install() {
    local package reason packages=()
    while read -r package reason; do
        setup_say "installing $package: $reason"
        packages+=("$package")
    done
    "$@" "${packages[@]}"
}

setup_apt() {
    local root=()
    if [ "$(id -u)" != 0 ]; then
        setup_has sudo || setup_die "run this as root, or install sudo" || return
        root=(sudo)
    fi
    "${root[@]}" apt-get -qq update >&2 || setup_die "apt-get update failed; see above" || return
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >&2 ||
        setup_die "apt-get could not install $*; see above"
}

setup_system() {
    local missing
    if [ "$(uname)" = Darwin ]; then
        setup_has c++ || setup_die "there is no C++ compiler: run 'xcode-select --install' and try again" || return
        missing=$(setup_missing_macos "$1")
        [ -n "$missing" ] || return 0
        setup_has brew || setup_die "needs Homebrew (https://brew.sh) for: $missing" || return
        setup_install brew install --quiet <<< "$missing"
        return
    fi
    missing=$(setup_missing_linux "$1")
    [ -n "$missing" ] || return 0
    setup_has apt-get || setup_die "this is neither Debian nor Ubuntu; install what these stand for:"$'\n'"$missing" || return
    setup_install setup_apt <<< "$missing"
}

# Whether cargo is there and new enough.
setup_has_rust() {
    local version
    version=$(cargo --version 2> /dev/null | cut -d' ' -f2)
    [ -n "$version" ] && [ "$(printf '%s\n' "$setup_rust" "$version" | sort -V | head -n1)" = "$setup_rust" ]
}

setup_cargo() {
    export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    setup_has_rust && return
    if setup_has rustup; then
        setup_say "updating Rust with rustup: $setup_rust or newer is needed"
        rustup update stable >&2 && rustup default stable >&2
    else
        setup_say "installing Rust with rustup (https://rustup.rs) for this user"
        curl --proto '=https' --tlsv1.2 -fsS https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path >&2
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    setup_has_rust || setup_die "cargo $setup_rust or newer is needed; $(command -v cargo || echo none) is found first"
}

setup_cargo_tests() {
    local component
    for component in rustfmt clippy; do
        cargo "${component#rust}" --version > /dev/null 2>&1 && continue
        setup_say "adding $component with rustup: scripts/test.sh runs it"
        rustup component add "$component" >&2 || setup_die "install $component" || return
    done
    setup_has cargo-nextest && return
    setup_say "installing cargo-nextest from source, some minutes: runs tests side by side, kills those that hang"
    cargo install cargo-nextest --locked >&2 || setup_die "cargo-nextest does not install; see https://nexte.st"
}

setup() {
    setup_system "$1" && setup_cargo && { [ "$1" != tests ] || setup_cargo_tests; }
}

setup "${1:-build}"
