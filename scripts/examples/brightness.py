"""The smallest analyzer of one's own: how bright a picture is, and the brightest so far.

    cv-receiver --analyze python:scripts/examples/brightness.py:brightness
"""


def brightness(frame, meta):
    mean = round(float(frame.mean()), 2)
    meta.state["brightest"] = max(mean, meta.state.get("brightest", mean))
    return {"mean": mean, "brightest": meta.state["brightest"]}


def finish(meta):
    return {"brightest": meta.state.get("brightest")}
