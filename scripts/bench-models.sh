#!/usr/bin/env bash
# What models cost, against the inference of Python's ONNX Runtime in the same run, and whether they find the same:
# see tests/bench/model.rs and tests/bench/models.py. The models and clips are those of CV_SHARED (default ../shared).
#
#     scripts/bench-models.sh
#
# Builds release programs first. Wants a machine with nothing else to do. Prints a line for each model.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh tests
cargo build --release --workspace --bins >&2
shared=$(cd "${CV_SHARED:-../shared}" && pwd)
target=${CARGO_TARGET_DIR:-target}
models=$shared/models

# compare NAME OURS REFERENCE CLIP
compare() {
    printf '%s ' "$1"
    "$target/release/cv-model" "$target/release/cv-receiver" "$target/onnxruntime" "$target/python/venv/bin/python" \
        "$2" "python:tests/bench/models.py:$3" "$shared/clips/$4"
}

file=$models/yolox_nano_416.onnx
compare yolox "detect:model=$file,only=person" "yolox,model=$file,score=0.3" squat_front_5reps.mp4
file=$models/yunet_n_320.onnx
compare yunet "detect:model=$file" "yunet,model=$file" sign_upper_body.mp4
file=$models/ultraface_rfb_320.onnx
compare ultraface "detect:model=$file" "ultraface,model=$file" sign_upper_body.mp4
file=$models/pose_landmark_lite.onnx
# A body that is followed is looked for where it was: a hundredth of a pixel becomes several in as many pictures, in
# this program as in the other. So the points are compared picture by picture, and the time while following.
compare blazepose-followed "pose:model=$file" "blazepose,model=$file" squat_front_5reps.mp4
compare blazepose-alone "pose:model=$file,follow=false" "blazepose,model=$file,follow=false" squat_front_5reps.mp4
