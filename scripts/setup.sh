#!/usr/bin/env bash
# Installs what building needs and is not there yet; says what and why. Does nothing where all is there.
#
#     scripts/setup.sh            what `cargo build --release` needs
#     scripts/setup.sh models     and ONNX Runtime, for analyzers with a model
#     scripts/setup.sh tests      and what scripts/test.sh needs
#     scripts/setup.sh peers      and the foreign WebRTC programs of tests/interop.rs (Debian, Ubuntu)
#
# Looks for programs and headers, not for packages, so what was installed by other means counts.
# Debian and Ubuntu by apt-get, macOS by Homebrew; elsewhere it lists what is missing. The other
# scripts source this file, so that a fresh cargo is on their PATH.

setup_rust=1.92 # rust-version in Cargo.toml
# The foreign programs that interoperability is tested with; apt decides on Chromium and GStreamer.
setup_peers_python=(aiortc==1.16.0 aioice==0.13.0 aiohttp==3.14.5 av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93)
# What analyzers in Python see pictures with.
setup_numpy=numpy==2.4.6
# What runs models; its wheel holds the library.
setup_onnxruntime=onnxruntime==1.31.1
setup_peers_node=playwright-core@1.65.1

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
    [ "$1" != build ] || return 0
    setup_has python3 || echo 'python3 analyzers in Python, and the way to ONNX Runtime'
    python3 -c 'import ensurepip, venv' 2> /dev/null || echo 'python3-venv a folder of its own for what comes from PyPI'
    [ "$1" != models ] || return 0
    setup_has ffmpeg || echo 'ffmpeg reads containers other than MP4; tests compare with it'
    setup_has zstd || echo 'zstd unpacks pictures that tests compare with'
    setup_has shellcheck || echo 'shellcheck checks these scripts'
    setup_has openssl || echo 'openssl certificates for foreign WebRTC clients'
    setup_has turnserver || echo 'coturn relays media in tests, which start it themselves; its service may stay off'
    [ "$1" != peers ] || setup_missing_peers
}

# What foreign clients and servers come from. GStreamer's Python belongs to the system's interpreter.
setup_missing_peers() {
    local name libraries plugins typelibs
    libraries=/usr/lib/$(uname -m)-linux-gnu
    plugins=$libraries/gstreamer-1.0
    typelibs=$libraries/girepository-1.0
    /usr/bin/python3 -c 'import ensurepip, venv' 2> /dev/null || echo 'python3-venv a folder of its own for aiortc and PyAV'
    /usr/bin/python3 -c 'import gi' 2> /dev/null || echo 'python3-gi the GStreamer client is Python'
    [ -e /usr/lib/python3/dist-packages/gi/overrides/Gst.py ] || echo 'python3-gst-1.0 the GStreamer client is Python'
    for name in Gst-1.0:gstreamer-1.0 GstSdp-1.0:gst-plugins-base-1.0 GstWebRTC-1.0:gst-plugins-bad-1.0; do
        [ -e "$typelibs/${name%%:*}.typelib" ] || echo "gir1.2-${name#*:} the GStreamer client is Python"
    done
    [ -e "$plugins/libgstnice.so" ] || echo 'gstreamer1.0-nice ICE for the GStreamer client'
    [ -e "$plugins/libgstapp.so" ] || echo 'gstreamer1.0-plugins-base the GStreamer client'
    [ -e "$plugins/libgstrtp.so" ] || echo 'gstreamer1.0-plugins-good RTP for the GStreamer client'
    [ -e "$plugins/libgstwebrtc.so" ] || echo 'gstreamer1.0-plugins-bad webrtcbin, the GStreamer client'
    [ -e "$plugins/libgstx264.so" ] || echo 'gstreamer1.0-plugins-ugly x264 for the GStreamer client'
    [ -x /usr/bin/chromium ] || echo 'chromium the browser among the clients'
    setup_has node || echo 'nodejs drives the browser'
    setup_has npm || echo 'npm fetches what drives the browser'
}

setup_missing_macos() {
    setup_has nasm || echo 'nasm assembly of the codecs: without it they run three times slower'
    if [ "$1" != build ] && [ "$1" != models ]; then
        setup_has ffmpeg || echo 'ffmpeg reads containers other than MP4; tests compare with it'
        setup_has zstd || echo 'zstd unpacks pictures that tests compare with'
        setup_has shellcheck || echo 'shellcheck checks these scripts'
        setup_has openssl || echo 'openssl certificates for foreign WebRTC clients'
        setup_has turnserver || echo 'coturn relays media in tests, which start it themselves; its service may stay off'
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

# Python and Node packages of the peers, in the target folder: made once, and anew when a version changes.
setup_peers() {
    local folder wanted="${setup_peers_python[*]} $setup_peers_node"
    folder=${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}/interop
    [ "$(cat "$folder/complete" 2> /dev/null)" != "$wanted" ] || return 0
    setup_say "installing $wanted in $folder: foreign clients and servers to test with"
    rm -rf "$folder" && mkdir -p "$folder/node" || return
    # The system's interpreter and packages, since GStreamer's bindings are nowhere else.
    /usr/bin/python3 -m venv --system-site-packages "$folder/venv" >&2 &&
        "$folder/venv/bin/pip" install --quiet --ignore-installed "${setup_peers_python[@]}" >&2 ||
        setup_die "pip could not install ${setup_peers_python[*]}; see above" || return
    npm install --silent --no-save --prefix "$folder/node" "$setup_peers_node" >&2 ||
        setup_die "npm could not install $setup_peers_node; see above" || return
    echo "$wanted" > "$folder/complete"
}

# setup_folder NAME WANTED: whether the folder NAME in the target folder holds just WANTED already; if not, it is emptied.
setup_folder() {
    setup_place=${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}/$1
    [ "$(cat "$setup_place/complete" 2> /dev/null)" != "$2" ] || return 0
    rm -rf "$setup_place" && mkdir -p "$setup_place" || setup_die "cannot make $setup_place" || return 2
    return 1
}

# An interpreter with numpy for tests of analyzers in Python, in the target folder.
setup_python() {
    local wanted="$setup_numpy $setup_onnxruntime"
    setup_folder python "$wanted" && return
    setup_say "installing $wanted in $setup_place: analyzers in Python are tested with it, and models compared with it"
    python3 -m venv "$setup_place/venv" >&2 &&
        "$setup_place/venv/bin/pip" install --quiet "$setup_numpy" "$setup_onnxruntime" >&2 ||
        setup_die "pip could not install $wanted; see above" || return
    echo "$wanted" > "$setup_place/complete"
}

# The library that runs models, in the target folder: made once, and anew when the version changes.
setup_models() {
    setup_folder onnxruntime "$setup_onnxruntime" && return
    setup_say "fetching $setup_onnxruntime from PyPI to $setup_place: analyzers with a model run in it"
    python3 -m venv "$setup_place/venv" >&2 &&
        "$setup_place/venv/bin/pip" download --quiet --no-deps --only-binary :all: --dest "$setup_place" "$setup_onnxruntime" >&2 &&
        python3 -m zipfile -e "$setup_place"/onnxruntime-*.whl "$setup_place/wheel" &&
        mv "$setup_place"/wheel/onnxruntime/capi/libonnxruntime.* "$setup_place/" ||
        setup_die "there is no $setup_onnxruntime for this system; see above" || return
    rm -rf "$setup_place"/{venv,wheel} "$setup_place"/*.whl
    echo "$setup_onnxruntime" > "$setup_place/complete"
}

setup() {
    setup_system "$1" && setup_cargo || return
    [ "$1" = build ] || setup_models || return
    case $1 in tests | peers) setup_cargo_tests && setup_python || return ;; esac
    [ "$1" != peers ] || setup_peers
}

setup "${1:-build}"
