#!/usr/bin/env bash
# The camera source against a real V4L2 device and its misfortunes, in a small VM (kernel driver: vivid).
#
#     scripts/test-camera.sh              builds a release probe and runs every case, some five minutes
#     CV_PROFILE=dev scripts/test-camera.sh
#     CV_SHARED=DIR                       where rigs/vm/vm-run is (default ../shared)
#
# Skipped, and loudly so, where the rig is missing. Ends with the number of failed cases as status.
set -euo pipefail
cd "$(dirname "$0")/.."

rig=${CV_SHARED:-../shared}/rigs/vm/vm-run
if [ ! -x "$rig" ]; then
    echo "SKIPPED: scripts/test-camera.sh: no $rig; NO CAMERA WAS TESTED" >&2
    exit 0
fi
profile=${CV_PROFILE:-release}
cargo build --quiet --profile "$profile" --workspace --bins
cargo build --quiet --profile "$profile" -p cv-sender --example camera_probe
probe=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}/examples/camera_probe
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$(cargo test --quiet --profile "$profile" -p cv-sender --lib --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')" "$work/unit_tests"

cat > "$work/lib.sh" <<'LIB'
failed=0
# check WHAT COMMAND...: one line on how it went
check() {
    if "${@:2}" > /dev/null 2>&1; then echo "ok       $1"; else echo "FAILED   $1"; failed=$((failed + 1)); fi
}
# probe NAME ARG...: runs the probe into NAME.json and NAME.err
probe() { RUST_BACKTRACE=0 ./camera_probe "${@:2}" > "$1.json" 2> "$1.err"; }
says() { grep -q -- "$2" "$1.err"; }
fails() { ! "$@"; }
pictures() { grep -c '"n":' "$1.json"; }
at_least() { [ "$(pictures "$1")" -ge "$2" ]; }
# picture NAME COUNT: waits until the probe in the background gave so many, at most a minute
picture() { for _ in $(seq 600); do ! at_least "$1" "$2" || return 0; sleep 0.1; done; return 1; }
# saying NAME TEXT: waits for a message, likewise
saying() { for _ in $(seq 600); do ! says "$1" "$2" || return 0; sleep 0.1; done; return 1; }
# steady NAME SIZE MS: every picture of SIZE, times rising, MS apart in the mean, neither black nor white
steady() {
    awk -F'[:,"]+' -v size="$2" -v ms="$3" '/"n":/ {
        for (i = 1; i < NF; i++) value[$i] = $(i + 1)
        if (value["size"] != size || value["luma"] < 5 || value["luma"] > 250) bad = 1
        if (n++) { if (value["pts"] <= last) bad = 1 } else first = value["pts"]
        last = value["pts"]
    } END { mean = (last - first) / (n - 1) / 1000; exit bad || n < 2 || mean < ms * 0.9 || mean > ms * 1.3 }' "$1.json"
}
finish() { for f in *.err; do echo "--- $f"; sed 's/^/    /' "$f"; done; exit "$failed"; }
LIB

cat > "$work/camera.sh" <<'CASES'
. ./lib.sh
control() { v4l2-ctl -d0 -c "$1"; }

probe list --list
check 'the list has sizes, encodings and broken rates' grep -q '"YUYV","size":"320x180","fps":12.5' list.json
probe small --size 320x180 --fps 30 --pictures 60
check '320x180 at 30 fps: sizes, times, brightness' steady small 320x180 33.3
probe large --size 640x480 --fps 10 --pictures 30
check '640x480 at 10 fps: sizes, times, brightness' steady large 640x480 100
probe default --pictures 5
check 'without a wish a fluent format is taken' grep -q '640x480 NV12 25 fps' default.json
probe slow --size 320x180 --fps 30 --pictures 10 --busy-ms 300
check 'who falls behind gets the newest picture' steady slow 320x180 300

check 'every encoding shows the same picture' sh -c './unit_tests --ignored --nocapture every_encoding 2> encodings.err'
check 'and all were tried' says encodings BGR:

v4l2-ctl -d0 -v width=1280,height=720,pixelformat=YUYV -p 12.5 > /dev/null
check 'the camera stands at a broken rate now' sh -c 'v4l2-ctl -d0 -P | grep -q 12.500'
probe broken --size 320x180 --pictures 5
check 'left at a broken rate it opens' at_least broken 5
v4l2-ctl -d0 -v width=640,height=480,pixelformat=HSV3
probe odd --size 320x180 --pictures 5
check 'left at an unknown encoding it opens' at_least odd 5

probe first --size 320x180 --fps 30 --pictures 100000 & running=$!
picture first 3
check 'a second program is refused' fails probe second --size 320x180
check 'and told why' says second 'camera 0: in use by another program'
check 'the first goes on' picture first $(($(pictures first) + 5))

control percentage_of_dropped_buffers=100
check 'a stall is noticed' saying first 'no picture for 5 s'
control percentage_of_dropped_buffers=0
check 'and survived' saying first 'pictures again after'
check 'and it goes on' picture first $(($(pictures first) + 10))

control disconnect=1
check 'unplugging is noticed' saying first 'unplugged'
check 'and the camera opened again' saying first 'open again'
check 'it gives pictures again' picture first $(($(pictures first) + 10))

control inject_fatal_streaming_error=1
sleep 2
check 'an input error is survived' picture first $(($(pictures first) + 10))

echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
sleep 4
check 'while it is away the log says so' saying first 'not found'
rmmod vivid && modprobe vivid node_types=0x1 num_inputs=1 input_types=0x0
check 'plugged in anew it gives pictures' picture first $(($(pictures first) + 10))
check 'times never went back' steady first 320x180 "$(awk -F'[:,"]+' '/"n":/ {n++; if (n == 1) a = $5; b = $5} END {print (b - a) / (n - 1) / 1000}' first.json)"

echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
check 'gone for good it ends with an error' fails wait "$running"
check 'that says what to do' says first 'camera_probe: camera 0: not found; no camera is connected'
finish
CASES

cat > "$work/stall.sh" <<'CASES'
. ./lib.sh
probe wrong --index 7 || true
check 'a wrong number names the cameras that are here' says wrong 'camera 7: not found; choose one that is here: 0 (vivid-000-vid-cap), 1 (vivid-001-vid-cap)'
probe other --index 1 --size 320x180 --pictures 5
check 'the second camera works' at_least other 5
printf 'root:x:0:0::/:/bin/bash\nnobody:x:65534:65534::/:/bin/bash\n' > /etc/passwd
chmod 600 /dev/video1
busybox su -s /bin/bash nobody -c './camera_probe --index 1' 2> denied.err > denied.json || true
check 'without permission it says how to get it' says denied 'camera 1: no permission to open it; add yourself'
v4l2-ctl -d0 -c percentage_of_dropped_buffers=100
check 'a camera that never gives a picture is an error' fails probe mute --size 320x180
check 'that says what to do' says mute 'camera_probe: camera 0: no picture for 3[0-9] s; unplug it'
finish
CASES

cat > "$work/none.sh" <<'CASES'
. ./lib.sh
check 'without a camera the list is empty' probe list --list
check 'and has no line' [ ! -s list.json ]
check 'opening fails' fails probe open
check 'and says so' says open 'camera 0: not found; no camera is connected: plug one in, or send a file'
finish
CASES

cat > "$work/whole.sh" <<'CASES'
. ./lib.sh
results() { if [ -e "$1" ]; then grep -c '"type":"result"' "$1" || true; else echo 0; fi; }
more() { for _ in $(seq 600); do [ "$(results "$1")" -lt "$2" ] || return 0; sleep 0.1; done; return 1; }
# accounted FILE: frames from 0 on, each in exactly one result or gap
accounted() {
    awk -F'[:,"]+' '/"type":"(result|gap)"/ {
        for (i = 1; i < NF; i++) value[$i] = $(i + 1)
        from = /"result"/ ? value["frame"] : value["from"]; to = /"result"/ ? value["frame"] : value["to"]
        if (from != next_frame) bad = 1
        next_frame = to + 1
    } END { exit bad || next_frame < 10 }' "$1"
}
./cv-receiver --listen 127.0.0.1:8080 --no-print 2> receiver.err & receiver=$!
check 'the list names the camera' sh -c './cv-sender --list-cameras | grep -q vivid'
check 'and is JSON for programs' sh -c './cv-sender --list-cameras --output json | grep -q "\"index\":0"'
check 'a camera is sent and answered' sh -c './cv-sender --webcam 0 --fps 20 --duration 4 --session camera --out camera.json 2> sender.err'
check 'each frame once, in a result or a gap' accounted camera.json
check 'with sizes of the centre' grep -q '"width":448,"height":336' camera.json
./cv-sender --webcam 0 --fps 20 --session stopped --out stopped.json 2> stopped.err & sender=$!
check 'results come' more stopped.json 20
kill -INT "$sender"
check 'a signal ends it well' wait "$sender"
check 'each frame once there, too' accounted stopped.json
kill "$receiver"
check 'the receiver ends well' wait "$receiver"
finish
CASES

failed=0
two='n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0,0'
session() { # NAME SECONDS OPTION...
    echo "== $1"
    "$rig" --timeout "$2" --out "$work/out-$1" "${@:3}" --file "$probe" --file "$work/unit_tests" --file "$work/lib.sh" --file "$work/$1.sh" \
        -- bash "$1.sh" || failed=$((failed + $?))
}
session none 60 --vivid none
session stall 150 --vivid "$two"
session camera 400
programs=("${probe%/examples/*}/cv-sender" "${probe%/examples/*}/cv-receiver")
session whole 200 --file "${programs[0]}" --file "${programs[1]}"
[ "$failed" = 0 ] && echo 'all camera cases passed' || echo "failed camera cases: $failed"
exit "$((failed > 99 ? 99 : failed))"
