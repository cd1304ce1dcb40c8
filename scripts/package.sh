#!/usr/bin/env bash
# Builds the Debian packages of both programs: binary, man page, completions, and for the receiver its service.
#
#     scripts/package.sh                     into target/debian, out of a release build
#     scripts/package.sh --profile dev       out of the build for tests; to check the packages themselves
#     scripts/package.sh --check             only that every file that a package names is there
#
# Needs dpkg; installs cargo-deb from crates.io where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=release
check=''
while [ $# -gt 0 ]; do
    case $1 in
        --profile) profile=${2:?--profile needs release or dev}; shift ;;
        --check) check=1 ;;
        *) echo "usage: scripts/package.sh [--profile release|dev] [--check]" >&2; exit 2 ;;
    esac
    shift
done

# Every source that the packages name, but those that are built.
named() {
    cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import glob, json, os, sys
missing = []
for package in json.load(sys.stdin)["packages"]:
    deb = (package.get("metadata") or {}).get("deb")
    if deb is None:
        continue
    folder = os.path.dirname(package["manifest_path"])
    sources = [asset[0] for asset in deb["assets"]] + [deb["license-file"][0]]
    if "maintainer-scripts" in deb:
        sources.append(deb["maintainer-scripts"])
    if "systemd-units" in deb:
        units = deb["systemd-units"]
        sources.append(units["unit-scripts"] + units["unit-name"] + ".service")
    missing += [f"{package['\''name'\'']}: {source}" for source in sources
                if not source.startswith("target/") and not glob.glob(os.path.join(folder, source))]
    print(f"{package['\''name'\'']}: {len(sources)} sources", file=sys.stderr)
sys.exit("packages name what is not there:\n" + "\n".join(missing) if missing else 0)'
}

named
[ -z "$check" ] || exit 0

command -v dpkg-deb > /dev/null || { echo "package: needs dpkg, that is Debian or one of its relatives" >&2; exit 1; }
command -v cargo-deb > /dev/null || cargo install cargo-deb --locked

case $profile in release) folder=release ;; dev) folder=debug ;; *) folder=$profile ;; esac
target=${CARGO_TARGET_DIR:-target}
cargo build --locked --quiet --profile "$profile" --workspace --bins
generated=$target/$folder/generated
mkdir -p "$generated"
for what in man bash zsh fish; do
    suffix=$what
    [ "$what" != man ] || suffix=1
    "$target/$folder/cv-receiver" generate "$what" > "$generated/cv-receiver.$suffix"
    "$target/$folder/cv-sender" --generate "$what" > "$generated/cv-sender.$suffix"
done
for package in cv-sender cv-receiver; do
    cargo deb --locked --quiet --no-build --no-strip --profile "$profile" --package "$package"
done
ls "$target"/debian/cv-*.deb
