"""Turns a Python function into an analyzer of cv-receiver, which sends this file to the interpreter.

Descriptor 3 is a socket with a line of JSON for each question and each answer, descriptor 4 the memory in which the
picture lies that a question is about.
"""

import importlib
import importlib.util
import inspect
import json
import mmap
import os
import socket
import sys
import traceback


class Meta:
    """What is known of a picture: attributes, or keys as in a dict."""

    __slots__ = ("session", "frame", "time", "width", "height", "state", "parameters", "given")

    def __init__(self, session, state, parameters, frame=None, time=None, width=None, height=None, given=None):
        self.session, self.state, self.parameters, self.given = session, state, parameters, given
        self.frame, self.time, self.width, self.height = frame, time, width, height

    @property
    def size(self):
        """Width and height in pixels."""
        return self.width, self.height

    def __getitem__(self, key):
        try:
            return getattr(self, key)
        except AttributeError:
            raise KeyError(key) from None

    def __repr__(self):
        return f"Meta(session={self.session!r}, frame={self.frame}, time={self.time}, size={self.size})"


class Unusable(Exception):
    """The function cannot be had."""


def load(source, name):
    """The module that `source` names, and its function."""
    try:
        if source.endswith(".py") or "/" in source:
            path = os.path.abspath(source)
            # Compiled files are told apart by whole seconds, in which a file may change twice.
            sys.dont_write_bytecode = True
            sys.path.insert(0, os.path.dirname(path))
            spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, os.getcwd())
            module = importlib.import_module(source)
    except SyntaxError as error:
        raise Unusable(f"SyntaxError: {error.msg} (line {error.lineno} of {error.filename})") from None
    except Exception as error:
        traceback.print_exc()
        raise Unusable(f"cannot be imported: {last_line(error)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise Unusable(f"has no function '{name}'; it has {', '.join(there) or 'none'}")
    return module, function


def last_line(error):
    """The last line of a traceback, with the place in the user's code where it happened."""
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in ("<stdin>", "-")]
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    if not frames:
        return text
    return f"{text} ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno}, in {frames[-1].name})"


def plain(value):
    """What JSON can hold of numpy's types."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(type(value).__name__)


def culprit(value, path="result"):
    """Which part of a value JSON cannot hold."""
    if hasattr(value, "tolist") and not isinstance(value, float):
        value = value.tolist()
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                return f"{path} has a {type(key).__name__} as a key"
            if found := culprit(part, f"{path}[{key!r}]"):
                return found
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            if found := culprit(part, f"{path}[{index}]"):
                return found
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return f"{path} is {value}, which JSON cannot hold: return None instead"
    elif value is not None and not isinstance(value, (str, int, bool)):
        return f"{path} is a {type(value).__name__}, which JSON cannot hold"
    return None


class Analyzer:
    """The function with the states of its sessions."""

    def __init__(self, numpy, source, name, hello):
        self.module, self.function = load(source, name)
        self.numpy, self.format, self.parameters = numpy, hello["format"], hello["parameters"]
        self.memory = mmap.mmap(4, hello["memory"])
        self.sessions = {}
        # For functions that are declared pure: what is costly to make, once a process.
        self.own = {}
        self.complaints = 0
        self.several = getattr(self.module, "analyze_batch", None)
        self.start_hook, self.finish_hook = self.hook("start"), self.hook("finish")

    def hook(self, name):
        """The module's function of this name, if it is meant for us: it takes one meta."""
        hook = getattr(self.module, name, None)
        if not callable(hook) or hook is self.function:
            return None
        try:
            inspect.signature(hook).bind(None)
        except (TypeError, ValueError):
            print(f"{name} is not called: {name}(meta) takes one argument, this one others", file=sys.stderr, flush=True)
            return None
        return hook

    def picture(self, width, height, offset=0):
        """A picture in the memory; it is another one with the next question."""
        shape = {"gray": (height, width), "yuv": (height * 3 // 2, width)}.get(self.format, (height, width, 3))
        count = 1
        for length in shape:
            count *= length
        return self.numpy.frombuffer(self.memory, dtype=self.numpy.uint8, count=count, offset=offset).reshape(shape)

    def start(self, key, session):
        """A session's state begins."""
        meta = Meta(session, {}, self.parameters)
        self.sessions[key] = meta, None
        if self.start_hook:
            try:
                self.start_hook(meta)
            except Exception as error:
                self.sessions[key] = meta, f"start: {self.explained(error)}"

    def frame(self, key, session, frame, time, width, height, given=None):
        """What the function finds in a picture."""
        begun, broken = self.sessions.get(key, (None, None))
        if broken:
            return {"error": broken}
        state = self.own if begun is None else begun.state
        meta = Meta(session, state, self.parameters, frame, time, width, height, given)
        return self.called(self.function, self.picture(width, height), meta)

    def batch(self, pictures):
        """What the module's function for several pictures finds in each."""
        frames = [self.picture(shown["width"], shown["height"], shown.pop("offset")) for shown in pictures]
        metas = [Meta(state=self.own, parameters=self.parameters, **shown) for shown in pictures]
        if not callable(self.several):  # any more: the file has changed
            return {"results": [self.called(self.function, *pair) for pair in zip(frames, metas)]}
        try:
            results = list(self.several(frames, metas))
        except Exception as error:
            return {"error": self.explained(error)}
        if len(results) != len(frames):
            return {"error": f"analyze_batch returned {len(results)} results for {len(frames)} pictures"}
        return {"results": [self.checked(result, "analyze_batch") for result in results]}

    def finish(self, key):
        """What the module says about a whole session."""
        begun, _ = self.sessions.get(key, (None, None))
        if begun is None or not self.finish_hook:
            return {"result": None}
        return self.called(self.finish_hook, begun)

    def forget(self, key):
        """A session's state ends."""
        self.sessions.pop(key, None)

    def called(self, function, *arguments):
        """The answer of a function, whatever happens in it."""
        try:
            result = function(*arguments)
        except Exception as error:
            return {"error": self.explained(error)}
        return self.checked(result, getattr(function, "__name__", "the function"))

    def checked(self, result, name):
        """An answer, if that is what the function returned."""
        if result is not None and not isinstance(result, dict):
            return {"error": f"{name} returned a {type(result).__name__}, not a dict or None"}
        return {"result": result}

    def explained(self, error):
        """An exception in a line; the first ones are told in full on stderr."""
        self.complaints += 1
        if self.complaints <= 3:
            traceback.print_exception(type(error), error, error.__traceback__)
        return last_line(error)


def encoded(answer):
    """An answer as a line of JSON."""
    try:
        text = json.dumps(answer, separators=(",", ":"), allow_nan=False, default=plain)
    except (TypeError, ValueError, RecursionError) as error:
        if "results" in answer:
            each = b",".join(encoded(one).strip() for one in answer["results"])
            return b'{"results":[' + each + b"]}\n"
        try:
            reason = culprit(answer["result"]) or str(error)
        except RecursionError:
            reason = "result holds itself"
        text = json.dumps({"error": reason})
    return text.encode() + b"\n"


def prepare(hello):
    """The analyzer, ready for questions."""
    try:
        import numpy
    except ImportError:
        raise Unusable(
            f"numpy is missing: {sys.executable} -m pip install numpy, or name another interpreter by --python"
        ) from None
    return Analyzer(numpy, sys.argv[1], sys.argv[2], hello)


def main():
    """Answers questions until there are none any more."""
    conversation = socket.socket(fileno=3)
    lines = conversation.makefile("rb")
    hello = json.loads(lines.readline())
    try:
        analyzer = prepare(hello)
    except Unusable as error:
        conversation.sendall(encoded({"error": str(error)}))
        return
    conversation.sendall(encoded({"result": None, "batch": callable(analyzer.several)}))
    for line in lines:
        question = json.loads(line)
        kind = question.pop("type")
        answer = getattr(analyzer, kind)(**question)
        if kind in ("frame", "batch", "finish"):
            sys.stdout.flush()
            conversation.sendall(encoded(answer))


if __name__ == "__main__":
    main()
