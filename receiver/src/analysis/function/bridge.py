"""Turns a Python function into an analyzer of cv-receiver, which sends this file to the interpreter.

Descriptor 3 is a socket with a line of JSON for each question and each answer, descriptor 4 the memory in which the
picture lies that a question is about.
"""

import sys

# What lies in the working directory is the function's, not ours: a socket.py there must not be taken for Python's.
HERE = sys.path.pop(0) if sys.path[:1] == [""] else None

import atexit
import collections.abc
import importlib
import importlib.util
import inspect
import json
import math
import mmap
import os
import select
import signal
import socket
import threading
import time
import traceback

# The longest answer that cv-receiver reads, in bytes, and how deep a result may be nested for all who read its lines.
MOST_BYTES = 4 << 20
MOST_LEVELS = 100
# Beyond this an integer is none for those who read numbers as 64 bits or as floats.
MOST_BITS = 1023
# The longest error, in characters.
MOST_TOLD = 2000
# Files that are looked at before each picture, where that is asked for.
MOST_FILES = 256
# Seconds that everything may take to end once cv-receiver is gone.
GRACE = 0.5


class Meta(collections.abc.Mapping):
    """What is known of a picture: attributes, or keys as in a dict."""

    KEYS = ("session", "frame", "time", "width", "height", "size", "state", "parameters", "given")
    __slots__ = tuple(key for key in KEYS if key != "size")
    __hash__ = object.__hash__

    def __init__(self, session, state, parameters, frame=None, time=None, width=None, height=None, given=None):
        self.session, self.state, self.parameters, self.given = session, state, parameters, given
        self.frame, self.time, self.width, self.height = frame, time, width, height

    @property
    def size(self):
        """Width and height in pixels."""
        return self.width, self.height

    def __getitem__(self, key):
        if key in Meta.KEYS:
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self):
        return iter(Meta.KEYS)

    def __len__(self):
        return len(Meta.KEYS)

    def __repr__(self):
        return f"Meta(session={self.session!r}, frame={self.frame}, time={self.time}, size={self.size})"


class Unusable(Exception):
    """The function cannot be had."""

    def __init__(self, problem, *files):
        super().__init__(problem)
        self.files = files


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
        problem = f"SyntaxError: {error.msg} (line {error.lineno} of {error.filename})"
        raise Unusable(problem, error.filename) from None
    except Exception as error:
        traceback.print_exc()
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        raise Unusable(f"cannot be imported: {last_line(error)}", *files) from None
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise Unusable(f"has no function '{name}'; it has {', '.join(there) or 'none'}")
    if problem := misfit(function, name, ("frame", "meta")):
        raise Unusable(problem)
    return module, function


def own_files(source, more=()):
    """The files of the function's code, as far as they lie in its folder: no installed packages, nothing of Python's."""
    if source.endswith(".py") or "/" in source:
        folder = os.path.dirname(os.path.abspath(source))
    else:
        top = sys.modules.get(source.partition(".")[0])
        near = next(iter(getattr(top, "__path__", ())), None) or getattr(top, "__file__", None)
        folder = os.path.dirname(os.path.abspath(near)) if near else os.getcwd()
    python = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {os.path.abspath(file) for file in files.union(more) if isinstance(file, str) and os.path.isfile(file)}
    foreign = ("site-packages", "dist-packages")
    own = [
        path
        for path in sorted(paths)
        if path.startswith(os.path.join(folder, ""))
        and not path.startswith(python)
        and not any(part in foreign for part in path.split(os.sep))
    ]
    return own[:MOST_FILES]


def misfit(function, name, arguments):
    """Why a function cannot be called with these arguments and have its answer taken, if it cannot."""
    wanted = f"{name}({', '.join(arguments)})"
    bodies = [function] if inspect.isclass(function) else [function, getattr(function, "__call__", None)]
    if any(inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body) for body in bodies):
        return f"{name} is async, and nobody would await it: write def {wanted}"
    if any(inspect.isgeneratorfunction(body) for body in bodies):
        return f"{name} yields, and one answer is wanted: write def {wanted} with return"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # as of some that are written in C
        return None
    try:
        signature.bind(*arguments)
    except TypeError:
        return f"{name} is called as {wanted}, which {name}{signature} does not take"
    return None


def last_line(error):
    """The last line of a traceback, with the place in the user's code where it happened."""
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in ("<stdin>", "-")]
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    if not frames:
        return text
    return f"{text} ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno}, in {frames[-1].name})"


class Unfit(Exception):
    """Part of a result that JSON, or who reads it, cannot hold."""

    def __init__(self, problem):
        super().__init__(problem)
        self.problem, self.place = problem, ""

    def __str__(self):
        return f"result{self.place if len(self.place) <= 80 else self.place[:80] + '...'} {self.problem}"


def straight(value, levels=MOST_LEVELS):
    """A value of what JSON can hold, numpy's numbers and arrays among it; `levels` more may be nested in it."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unfit(f"is {value}, which JSON cannot hold: return None instead")
        return value
    if isinstance(value, str):
        return whole(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise Unfit(f"is an integer of {value.bit_length()} bits, which readers of JSON cannot hold")
        return value
    if levels == 0:
        raise Unfit(f"is nested more than {MOST_LEVELS} levels deep, or holds itself")
    if isinstance(value, dict):
        return straight_dict(value, levels - 1)
    if isinstance(value, (list, tuple)):
        return straight_list(value, levels - 1)
    if hasattr(value, "tolist") and not isinstance(value, type):
        plain = value.tolist()
        if type(plain) is not type(value):  # as that of some numbers of numpy's is
            return plain if is_finite(value, levels) else straight(plain, levels - 1)
    raise Unfit(f"is a {type(value).__name__}, which JSON cannot hold")


def is_finite(value, levels):
    """Whether it is an array of numpy's whose numbers need no look at each."""
    if type(value) is not getattr(sys.modules.get("numpy"), "ndarray", None) or not 0 < value.ndim <= levels:
        return False
    if value.dtype.kind == "f" and value.itemsize <= 8:
        return value.size == 0 or math.isfinite(value.min()) and math.isfinite(value.max())
    return value.dtype.kind in "biu"


def straight_list(value, levels):
    """A list; what is wrong with a part of it says where that is."""
    plain = []
    try:
        for part in value:
            plain.append(straight(part, levels))
    except Unfit as unfit:
        unfit.place = f"[{len(plain)}]{unfit.place}"
        raise
    return plain


def straight_dict(value, levels):
    """The same of a dict, whose keys become texts, as JSON has them."""
    plain = {}
    for key, part in value.items():
        text = key_text(key)
        if text in plain:
            raise Unfit(f"has the key {text!r} twice, as keys of JSON are texts")
        try:
            plain[text] = straight(part, levels)
        except Unfit as unfit:
            unfit.place = f"[{key!r}]{unfit.place}"
            raise
    return plain


def key_text(key):
    """A key as JSON writes it."""
    if isinstance(key, str):
        return whole(key)
    plain = key.item() if hasattr(key, "item") and hasattr(key, "dtype") else key
    if isinstance(plain, str):
        return whole(plain)
    if plain is None or isinstance(plain, (bool, int)) or isinstance(plain, float) and math.isfinite(plain):
        return json.dumps(straight(plain))
    raise Unfit(f"has {plain} as a key" if isinstance(plain, float) else f"has a {type(key).__name__} as a key")


def whole(text):
    """A text, if it is one that can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unfit(f"has half a character, {text[error.start]!a}, which JSON cannot hold") from None
    return text


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
        self.several = self.hook("analyze_batch", "frames", "metas")
        self.start_hook, self.finish_hook = self.hook("start", "meta"), self.hook("finish", "meta")

    def hook(self, name, *arguments):
        """The module's function of this name, if it is meant for us: it takes these arguments."""
        hook = getattr(self.module, name, None)
        if not callable(hook) or hook is self.function:
            return None
        if problem := misfit(hook, name, arguments):
            print(f"{name} is not called: {problem}", file=sys.stderr, flush=True)
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
        if self.several is None:  # any more: the file has changed
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
    """An answer as a line of JSON that cv-receiver takes."""
    if "results" in answer:
        return b'{"results":[' + b",".join(encoded(one).strip() for one in answer["results"]) + b"]}\n"
    try:
        if answer.get("result") is not None:
            answer = {"result": straight(answer["result"])}
        line = line_of(answer)
    except Unfit as unfit:
        return line_of({"error": str(unfit)})
    except Exception as error:  # a tolist() that raises, a dict that changes meanwhile
        return line_of({"error": f"result cannot be written as JSON: {last_line(error)}"})
    if len(line) > MOST_BYTES:
        size, most = len(line) / (1 << 20), MOST_BYTES >> 20
        return line_of({"error": f"result is {size:.1f} MB of JSON, and an answer may have {most}"})
    return line


def line_of(answer):
    """A line of JSON. Of an error only so much as somebody would read."""
    if "error" in answer:
        # An exception's text may hold what cannot be sent.
        told = answer["error"][:MOST_TOLD].encode(errors="backslashreplace").decode()
        answer = {**answer, "error": told}
    text = json.dumps(answer, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def prepare(hello):
    """The analyzer, ready for questions."""
    try:
        import numpy
    except ImportError:
        raise Unusable(
            f"numpy is missing: {sys.executable} -m pip install numpy, or name another interpreter by --python"
        ) from None
    if HERE is not None:
        sys.path.insert(0, HERE)
    return Analyzer(numpy, sys.argv[1], sys.argv[2], hello)


def end_with(conversation):
    """Sees to it that this process and what it started end when cv-receiver does, whatever the function is doing."""
    own = os.getpid()
    leads = os.getpgrp() == own
    # Says when nobody is at the other end; the end of the questions alone it does not tell.
    deserted = select.poll()
    deserted.register(conversation, 0)

    def kill():
        if leads:
            os.killpg(own, signal.SIGKILL)
        os.kill(own, signal.SIGKILL)

    def watch():
        deserted.poll()
        time.sleep(GRACE)
        kill()

    def leave():
        # As long as there is a cv-receiver, it takes care of what is left of us; what the function forked is not us.
        last = select.poll()
        last.register(conversation, 0)
        if os.getpid() == own and last.poll(0):
            sys.stdout.flush()
            kill()

    # The first to be registered is the last to be called.
    atexit.register(leave)
    threading.Thread(target=watch, name="cv-receiver", daemon=True).start()


def main():
    """Answers questions until there are none any more."""
    # There is no such file, and multiprocessing would have each of its processes run it.
    globals().pop("__file__", None)
    conversation = socket.socket(fileno=3)
    end_with(conversation)
    lines = conversation.makefile("rb")
    hello = json.loads(lines.readline() or b"null")
    if hello is None:
        return
    try:
        analyzer = prepare(hello)
    except Unusable as error:
        conversation.sendall(line_of({"error": str(error), "files": own_files(sys.argv[1], error.files)}))
        return
    ready = {"result": None, "batch": analyzer.several is not None, "files": own_files(sys.argv[1])}
    conversation.sendall(line_of(ready))
    for line in lines:
        if not line.endswith(b"\n"):  # cv-receiver ended in the middle of it
            return
        question = json.loads(line)
        kind = question.pop("type")
        answer = getattr(analyzer, kind)(**question)
        if kind in ("frame", "batch", "finish"):
            sys.stdout.flush()
            try:
                conversation.sendall(encoded(answer))
            except OSError:  # nobody listens any more
                return


if __name__ == "__main__":
    main()
