#!/usr/bin/env bash
# Shows the whole thing at work: builds it, starts a receiver, sends, shows some of the results.
#
#     scripts/demo.sh                       ten seconds of a test picture
#     scripts/demo.sh --webcam 0            a camera, until Ctrl-C
#     scripts/demo.sh --file clip.mp4       a clip
#     scripts/demo.sh ANY FLAG OF cv-sender (see cv-sender --help)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/setup.sh
source "$here/setup.sh" build

# Paths in the arguments are meant from where the caller stands.
cargo build --release --workspace --bins --manifest-path "$here/../Cargo.toml"
bin=$(cd "${CARGO_TARGET_DIR:-$here/../target}/release" && pwd)

work=$(mktemp -d)
receiver=
# shellcheck disable=SC2317 # reached through the trap
finish() {
    trap - EXIT
    if [ -n "$receiver" ]; then
        kill "$receiver" 2> /dev/null || true
        wait "$receiver" 2> /dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 143' TERM

# In a process group of its own, so that Ctrl-C ends the sender and the receiver still answers it.
set -m
"$bin/cv-receiver" --listen 127.0.0.1:0 --no-print 2> "$work/log" &
receiver=$!
set +m
url=
for _ in $(seq 100); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$work/log")
    if [ -n "$url" ] || ! kill -0 "$receiver" 2> /dev/null; then break; fi
    sleep 0.1
done
if [ -z "$url" ]; then
    echo "demo: the receiver did not start:" >&2
    cat "$work/log" >&2
    exit 1
fi

arguments=("$@")
((${#arguments[@]})) || arguments=(--pattern bars --duration 10)
echo "demo: a receiver listens on $url; sending ${arguments[*]} (Ctrl-C ends it)"
# The first Ctrl-C is the sender's: it lets the last results come back. Bash only waits.
trap : INT
status=0
"$bin/cv-sender" --url "$url" --out "$work/results.ndjson" "${arguments[@]}" || status=$?
trap - INT

# One line for a result: its frame and time, and what stats measured; other analyzers in raw form.
pretty() {
    awk '
    function number(name) { return match($0, "\"" name "\":-?[0-9.]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : "" }
    function show() {
        if (number("brightness") == "") { print "  " substr($0, 1, 160); return }
        printf "  frame %5d  %7.3f s  brightness %6.1f  contrast %5.1f  sharpness %7.1f  motion %6.2f  %5.1f ms after capture\n",
            number("frame"), number("time"), number("brightness"), number("contrast"), number("sharpness"), number("motion"), number("age_ms")
    }
    /^[{]"type":"result"/ { if (!first) { first = $0; print "The first result, as it came:\n  " $0 "\n\nOne a second:" } if (int(number("time")) >= due) { show(); due = int(number("time")) + 1 } next }
    /^[{]"type":"(final|session|gap)"/ { if (/"event":"started"/) next; last = last "  " $0 "\n" }
    END { if (last != "") printf "\nAnd at the end:\n%s", last }' "$1"
}
[ ! -s "$work/results.ndjson" ] || pretty "$work/results.ndjson"

cat << END

Now by hand, in two terminals (programs in $bin):
  cv-receiver                                          results of every sender on stdout
  cv-sender --webcam 0                                 or --file clip.mp4, or --pattern bars
  curl -N http://127.0.0.1:8080/cv/session/ID/results  results as a stream, for other programs
README.md says more; cv-sender --help and cv-receiver --help say all.
END
exit "$status"
