"""What moves before a background that is learnt on the way: its share of the picture and where it is.

    cv-receiver --analyze python:scripts/examples/moving.py:moving,format=gray,threshold=20
"""

import numpy


def start(meta):
    meta.state["threshold"] = float(meta.parameters.get("threshold", 20))


def moving(frame, meta):
    small = frame[::4, ::4].astype(numpy.float32)
    background = meta.state.get("background")
    if background is None or background.shape != small.shape:
        meta.state["background"] = small
        return None
    mask = abs(small - background) > meta.state["threshold"]
    background += 0.05 * (small - background)
    rows, columns = numpy.nonzero(mask)
    if not len(rows):
        return {"share": 0.0, "box": None}
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return {"share": round(float(mask.mean()), 4), "box": [int(4 * edge) for edge in (left, top, right, bottom)]}
