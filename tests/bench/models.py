"""Four ONNX models as analyzers for cv-receiver's `python:FILE:FUNCTION`, with numpy and onnxruntime.

    cv-receiver --analyze python:tests/bench/models.py:yolox,model=yolox_nano_416.onnx
    cv-receiver --analyze python:tests/bench/models.py:blazepose,model=pose.onnx,detector=yolox_nano_416.onnx

They are what the built-in `detect` and `pose` are measured against: the same preparation, the same decoding, the same
findings in pixels of the picture, origin top left, and `inference_ms`, the milliseconds in the model itself.
Parameters: `model` (a path), `score` (the least score that is told), `detector` (of `blazepose`: a YOLOX model's path).
"""

import math
import time

import numpy as np
import onnxruntime

SESSIONS = {}


def session_of(path):
    """The model in `path`, loaded once a process; one thread, which does not spin while it waits."""
    if path not in SESSIONS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        SESSIONS[path] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return SESSIONS[path]


def infer(path, blob, names=None):
    """The model's outputs for `blob` by name, and the milliseconds that it took."""
    session = session_of(path)
    names = names or [output.name for output in session.get_outputs()]
    begun = time.perf_counter()
    outputs = session.run(names, {session.get_inputs()[0].name: blob})
    return dict(zip(names, outputs)), (time.perf_counter() - begun) * 1000


def shrunk(samples, length):
    """`samples` along their first axis in another length, by triangles as wide as the steps between the new samples:
    with 16-bit coefficients and rounded to bytes, as libraries for pictures do it."""
    step = len(samples) / length
    reach = max(step, 1.0)
    chosen, parts = [], []
    for place in range(length):
        centre = (place + 0.5) * step - 0.5
        near = np.arange(max(0, math.floor(centre + 0.5 - reach)), min(len(samples), math.ceil(centre + 0.5 + reach)))
        part = np.clip(1 - np.abs(near - centre) / reach, 0, None)
        chosen.append(near)
        parts.append(part / part.sum())
    most = max(part.max() for part in parts)
    bits = next(bits for bits in range(22) if math.floor(most * 2 ** (bits + 1) + 0.5) >= 2**15)
    new = np.empty((length, *samples.shape[1:]), np.uint8)
    for place, (near, part) in enumerate(zip(chosen, parts)):
        factors = np.floor(part * 2**bits + 0.5).astype(np.int32)
        total = np.tensordot(factors, samples[near].astype(np.int32), 1) + (1 << (bits - 1))
        new[place] = np.clip(total >> bits, 0, 255)
    return new


def resized(frame, width, height):
    """`frame` (height, width, 3) in another size: first its height, then its width."""
    lower = shrunk(frame, height) if height != len(frame) else frame
    return shrunk(lower.transpose(1, 0, 2), width).transpose(1, 0, 2) if width != frame.shape[1] else lower


def letterbox(frame, width, height, pad):
    """`frame` scaled to fit, top left in a float picture of `pad`, and the scale."""
    h, w = frame.shape[:2]
    scale = min(width / w, height / h)
    new = max(1, round(w * scale)), max(1, round(h * scale))
    boxed = np.full((height, width, 3), pad, np.float32)
    boxed[: new[1], : new[0]] = resized(frame, *new)
    return boxed, scale


def planes(picture):
    """A batch of one picture (height, width, 3) as (1, 3, height, width)."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)


def grid(width, height, stride):
    """Column and row of every cell, row by row, as (cells, 2)."""
    y, x = np.mgrid[0 : height // stride, 0 : width // stride]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def survivors(boxes, scores, least):
    """Which of `boxes` (x, y, w, h) remain, best first, where none overlaps a better one by more than `least`."""
    order = np.argsort(-scores, kind="stable")
    right, bottom, area = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3], boxes[:, 2] * boxes[:, 3]
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        w = np.minimum(right[best], right[order]) - np.maximum(boxes[best, 0], boxes[order, 0])
        h = np.minimum(bottom[best], bottom[order]) - np.maximum(boxes[best, 1], boxes[order, 1])
        common = np.clip(w, 0, None) * np.clip(h, 0, None)
        order = order[common <= least * (area[best] + area[order] - common)]
    return kept


def listed(array, digits=2):
    """`array` as lists of rounded numbers."""
    return np.round(np.asarray(array, np.float64), digits).tolist()


def size_of(frame):
    return [frame.shape[1], frame.shape[0]]


COCO_PERSON = 0


def people(frame, path, least):
    """The persons that YOLOX finds: boxes (x, y, w, h), scores, milliseconds."""
    side = session_of(path).get_inputs()[0].shape[2]
    boxed, scale = letterbox(frame[:, :, ::-1], side, side, 114.0)
    outputs, spent = infer(path, planes(boxed))
    raw = next(iter(outputs.values()))[0].astype(np.float64)
    cells = [(grid(side, side, stride), stride) for stride in (8, 16, 32)]
    origin = np.concatenate([cell for cell, _ in cells])
    stride = np.concatenate([np.full((len(cell), 1), stride) for cell, stride in cells])
    scores = raw[:, 4] * raw[:, 5 + COCO_PERSON]
    chosen = scores >= least
    centre, size = (raw[:, :2] + origin) * stride / scale, np.exp(raw[:, 2:4]) * stride / scale
    boxes, scores = np.concatenate([centre - size / 2, size], axis=1)[chosen], scores[chosen]
    kept = survivors(boxes, scores, 0.45)
    return boxes[kept], scores[kept], spent


def yolox(frame, meta):
    """Persons (label `person`); `score` is 0.1 where the list says nothing."""
    parameters = meta["parameters"]
    boxes, scores, spent = people(frame, parameters["model"], float(parameters.get("score", 0.1)))
    objects = [
        {"label": "person", "score": round(float(score), 3), "box": listed(box)} for box, score in zip(boxes, scores)
    ]
    return {"objects": objects, "size": size_of(frame), "inference_ms": round(spent, 3)}


def faces(boxes, scores, points, kept):
    """Findings of face detectors."""
    told = []
    for index in kept:
        face = {"label": "face", "score": round(float(scores[index]), 3), "box": listed(boxes[index])}
        if points is not None:
            face["points"] = listed(points[index])
        told.append(face)
    return told


def yunet(frame, meta):
    """Faces with five points: eyes, nose, corners of the mouth; those on the picture's left first."""
    parameters = meta["parameters"]
    path, least = parameters["model"], float(parameters.get("score", 0.6))
    shape = session_of(path).get_inputs()[0].shape
    # A model of any size is given the picture's own, filled up to whole cells.
    if all(isinstance(length, int) for length in shape[2:]):
        height, width = shape[2:]
    else:
        height, width = (max(32, math.ceil(length / 32) * 32) for length in frame.shape[:2])
    boxed, scale = letterbox(frame[:, :, ::-1], width, height, 0.0)
    outputs, spent = infer(path, planes(boxed))
    boxes, scores, points = [], [], []
    for stride in (8, 16, 32):
        origin = grid(width, height, stride)
        cls, obj, box, kps = (
            outputs[f"{name}_{stride}"][0].astype(np.float64) for name in ("cls", "obj", "bbox", "kps")
        )
        scores.append(np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1)))
        centre, size = (box[:, :2] + origin) * stride, np.exp(box[:, 2:]) * stride
        boxes.append(np.concatenate([centre - size / 2, size], axis=1) / scale)
        points.append((kps.reshape(-1, 5, 2) + origin[:, None]) * stride / scale)
    boxes, scores, points = (np.concatenate(parts) for parts in (boxes, scores, points))
    chosen = scores >= least
    boxes, scores, points = boxes[chosen], scores[chosen], points[chosen]
    told = faces(boxes, scores, points, survivors(boxes, scores, 0.3))
    return {"objects": told, "size": size_of(frame), "inference_ms": round(spent, 3)}


def ultraface(frame, meta):
    """Faces without points."""
    parameters = meta["parameters"]
    path, least = parameters["model"], float(parameters.get("score", 0.7))
    height, width = session_of(path).get_inputs()[0].shape[2:]
    scaled = (resized(frame, width, height).astype(np.float32) - 127.0) / 128.0
    outputs, spent = infer(path, planes(scaled), ["scores", "boxes"])
    scores, corners = outputs["scores"][0, :, 1].astype(np.float64), outputs["boxes"][0].astype(np.float64)
    chosen = scores >= least
    scores, corners = scores[chosen], corners[chosen] * np.array(size_of(frame) * 2)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    told = faces(boxes, scores, None, survivors(boxes, scores, 0.3))
    return {"objects": told, "size": size_of(frame), "inference_ms": round(spent, 3)}


CROP = 256
# Which of BlazePose's 33 points are COCO's 17.
COCO = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
# Points beyond the body: the middle of the hips, and one on the circle around the body, above the head.
CENTRE, RIM = 33, 34


def cut(frame, crop):
    """The square `crop` (centre x, y, side, rotation) of `frame` as 256 x 256 floats; outside of the frame is 0."""
    x, y, side, angle = crop
    h, w = frame.shape[:2]
    along = ((np.arange(CROP) + 0.5) / CROP - 0.5) * side
    u, v = along[None, :], along[:, None]
    # Places of the crop's pixel centres, counted in the frame's pixel centres.
    px = x + math.cos(angle) * u - math.sin(angle) * v - 0.5
    py = y + math.sin(angle) * u + math.cos(angle) * v - 0.5
    left, top = np.floor(px), np.floor(py)
    fx, fy = (px - left).astype(np.float32)[:, :, None], (py - top).astype(np.float32)[:, :, None]

    def at(column, row):
        inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
        pixels = frame[np.clip(row, 0, h - 1).astype(np.intp), np.clip(column, 0, w - 1).astype(np.intp)]
        return pixels.astype(np.float32) * inside[:, :, None]

    upper = at(left, top) * (1 - fx) + at(left + 1, top) * fx
    lower = at(left, top + 1) * (1 - fx) + at(left + 1, top + 1) * fx
    return (upper * (1 - fy) + lower * fy) / 255


def sigmoid(value):
    return 1 / (1 + np.exp(-np.clip(value, -60, 60)))


def body(frame, crop, path):
    """What the model sees in `crop`: the 39 points (x, y, z in the frame's pixels, visibility, presence), the person's
    score, how clearly it sees the 33 of the body (0 to 1), and the milliseconds that it took."""
    outputs, spent = infer(path, cut(frame, crop)[None], ["Identity", "Identity_1", "Identity_3"])
    raw = outputs["Identity"].reshape(39, 5).astype(np.float64)
    x, y, side, angle = crop
    u, v = ((raw[:, k] / CROP - 0.5) * side for k in (0, 1))
    points = np.stack(
        [
            x + math.cos(angle) * u - math.sin(angle) * v,
            y + math.sin(angle) * u + math.cos(angle) * v,
            raw[:, 2] / CROP * side,
            sigmoid(raw[:, 3]),
            sigmoid(raw[:, 4]),
        ],
        axis=1,
    )
    peaks = outputs["Identity_3"].reshape(-1, 39).max(axis=0).astype(np.float64)
    return points, float(outputs["Identity_1"][0, 0]), float(sigmoid(peaks)[:33].mean()), spent


def crop_of(points):
    """The crop for the next look at `points`: MediaPipe's, around the body's circle, its head up."""
    (cx, cy), (rx, ry) = points[CENTRE, :2], points[RIM, :2]
    return cx, cy, max(2.5 * math.hypot(rx - cx, ry - cy), 1.0), math.atan2(rx - cx, cy - ry)


# Turns of the first crop: upright, and lying on either side. Bodies upside down are rarer than heatmaps that err that way.
TURNS = [0.0, math.pi / 2, -math.pi / 2]


def start(frame, path, square):
    """A body in `square` (centre x, y, side), whichever way it lies, and the milliseconds.

    The model gives a whole body with a high score for any turn. Its heatmaps tell: they show where each point is seen,
    and nearly nothing where the body does not stand upright in the crop. The second look is along the body found."""
    looks = [body(frame, (*square, turn), path) for turn in TURNS]
    best = max(looks, key=lambda look: look[2])
    points, score, clarity, spent = body(frame, crop_of(best[0]), path)
    return points, score, clarity, spent + sum(look[3] for look in looks)


def person(points, score):
    """A finding's entry for one body."""
    body33 = points[:33]
    low, high = body33[:, :2].min(axis=0), body33[:, :2].max(axis=0)
    native = [[*xyz, *rest] for xyz, rest in zip(listed(body33[:, :3]), listed(body33[:, 3:], 3))]
    coco = [[x, y, min(visibility, presence)] for x, y, _, visibility, presence in (native[index] for index in COCO)]
    box = listed([*low, *(high - low)])
    return {"score": round(score, 3), "box": box, "points": coco, "native": {"kind": "blazepose", "points": native}}


# The score that a body must have to be told and followed, and the one of a person that is worth looking at.
BODY, PERSON = 0.5, 0.25


def square_of(frame, detector):
    """Where to look for a body: around the best person, or all of the frame; `None` where nobody is; milliseconds."""
    width, height = size_of(frame)
    if not detector:
        return (width / 2, height / 2, float(max(width, height))), 0.0
    boxes, _, spent = people(frame, detector, PERSON)
    if not len(boxes):
        return None, spent
    x, y, w, h = boxes[0]
    return (x + w / 2, y + h / 2, 1.25 * max(w, h)), spent


def blazepose(frame, meta):
    """One body, followed from picture to picture."""
    parameters, state = meta["parameters"], meta["state"]
    path, spent = parameters["model"], 0.0
    found = None
    if parameters.get("follow") != "false" and (crop := state.get("crop")):
        *found, spent = body(frame, crop, path)
    if not found or found[1] < BODY:
        square, looked = square_of(frame, parameters.get("detector"))
        spent += looked
        found = None
        if square:
            *found, looked = start(frame, path, square)
            spent += looked
    if not found or found[1] < BODY:
        state["crop"] = None
        return {"people": [], "size": size_of(frame), "inference_ms": round(spent, 3)}
    points, score, _clarity = found
    state["crop"] = crop_of(points)
    return {"people": [person(points, score)], "size": size_of(frame), "inference_ms": round(spent, 3)}
