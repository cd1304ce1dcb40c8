"""Attacks on a receiver's HTTP port, from as many addresses of this machine as are asked for.

Runs in a process of its own and politely (niced): what it uses is reported, since it shares the machine with what it
attacks. Requests are built beforehand, and connections used again as long as the receiver lets them.
"""

import asyncio
import base64
import collections
import itertools
import multiprocessing
import os
import random
import resource
import time

from lab import offer

TICK = 0.01
FRAGMENT = "Content-Type: application/trickle-ice-sdpfrag\r\n"
# A frame that is masked and otherwise wrong in every way, one that announces a gigabyte, one that is not masked.
FRAMES = [b"\xff\x85abcdjunk!", b"\x82\xff" + (1 << 30).to_bytes(8, "big") + b"abcd", b"\x81\x05hello"]


def request(method, path, fields="", body=b""):
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def malformed(session, location, tag):
    """Requests that a receiver must refuse, of every kind; `location` is that of a connection, `session` has readers."""
    sdp, key = "Content-Type: application/sdp\r\n", base64.b64encode(b"0123456789abcdef").decode()
    upgrade = f"GET /cv/session/{session}/results HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    upgrade += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    audio = offer(random.Random(1)).replace(b"m=video", b"m=audio")
    requests = [
        request("POST", "/whip", sdp, b"hello"),
        request("POST", "/whip", sdp, audio),
        request("POST", "/whip", sdp, random.Random(2).randbytes(2000)),
        request("POST", "/whip?session=%00&mode=never", sdp, offer(random.Random(3))),
        request("POST", "/whip?analyze=nothing", sdp, offer(random.Random(4))),
        request("POST", "/whip", "Content-Type: text/plain\r\n", b"x" * 500),
        request("POST", "/whip", sdp, b"v=0\r\n" * 12_000),
        f"POST /whip HTTP/1.1\r\nHost: localhost\r\n{sdp}Content-Length: 99999999\r\n\r\n".encode(),
        request("PATCH", location, FRAGMENT + 'If-Match: "0"\r\n', b"a=end-of-candidates\r\n"),
        request("PATCH", location, FRAGMENT, b"a=end-of-candidates\r\n"),
        request("PATCH", location, FRAGMENT + f"If-Match: {tag}\r\n", b"a=ice-ufrag:x\r\n" * 50),
        request("PATCH", location, FRAGMENT + "If-Match: *\r\n", b"\xff\xfe" * 50),
        request("PATCH", "/whip/0", FRAGMENT + "If-Match: *\r\n", b"x"),
        b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
        upgrade.replace("Version: 13", "Version: 12").encode(),
    ]
    return requests + [upgrade.encode() + frame for frame in FRAMES]


class Client(asyncio.Protocol):
    """One connection: one request after the other, as long as it stays open."""

    def __init__(self, crowd, said):
        self.crowd, self.said = crowd, said

    def connection_made(self, transport):
        self.transport = transport
        self.say(self.said)

    def say(self, said):
        self.told = False
        self.transport.write(said)

    def data_received(self, data):
        if not self.told and data.startswith(b"HTTP/1.1 "):
            self.told = True
            self.crowd.answers[int(data[9:12])] += 1
            # What is upgraded speaks no HTTP any more.
            if not data.startswith(b"HTTP/1.1 101"):
                self.crowd.idle.append(self)

    def connection_lost(self, _):
        self.crowd.open -= 1
        if not self.told:
            self.crowd.answers["none"] += 1


class Crowd:
    """Connections from many addresses, and what they were told."""

    def __init__(self, target, addresses):
        self.target, self.addresses = target, itertools.cycle(addresses)
        self.idle = collections.deque()
        self.answers = collections.Counter()
        self.open = self.sent = self.failed = 0
        self.tasks = set()

    async def send(self, requests, rate, until, most_open=400):
        """Sends so many a second, as long as there are any and it is not too late."""
        began, due = time.monotonic(), 0
        while (now := time.monotonic()) < until:
            while due < (now - began) * rate:
                due += 1
                # What a receiver does not take in time is not held back and sent all at once later.
                if self.open > most_open and not self.idle:
                    self.failed += 1
                    continue
                if (said := next(requests, None)) is None:
                    return
                self.dispatch(said)
            await asyncio.sleep(TICK)

    def dispatch(self, said):
        self.sent += 1
        while self.idle:
            client = self.idle.popleft()
            if not client.transport.is_closing():
                return client.say(said)
        self.open += 1
        task = asyncio.get_running_loop().create_task(self.connect(said))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self, said):
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: Client(self, said), *self.target, local_addr=(next(self.addresses), 0))
        except OSError:
            self.open -= 1
            self.failed += 1

    async def settle(self, limit=5):
        """Waits for the answers that are still to come."""
        until = time.monotonic() + limit
        while time.monotonic() < until and (self.tasks or self.open > len(self.idle)):
            await asyncio.sleep(0.05)


class Loris(asyncio.Protocol):
    """A connection that says one letter of a header a second."""

    def __init__(self, pack):
        self.pack = pack

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"POST /whip HTTP/1.1\r\nHost: localhost\r\nX: ")
        self.pack.members.add(self)

    def connection_lost(self, _):
        self.pack.members.discard(self)
        self.pack.lost += 1


class Pack:
    """So many slow connections, each made again when it is lost."""

    def __init__(self, target, addresses, size):
        self.target, self.addresses, self.size = target, itertools.cycle(addresses), size
        self.members, self.lost, self.most = set(), 0, 0

    async def run(self, until):
        loop = asyncio.get_running_loop()
        while time.monotonic() < until:
            for _ in range(min(500, self.size - len(self.members))):
                try:
                    await loop.create_connection(lambda: Loris(self), *self.target, local_addr=(next(self.addresses), 0))
                except OSError:
                    break
            self.most = max(self.most, len(self.members))
            for member in list(self.members):
                member.transport.write(b"x")
            await asyncio.sleep(1)


async def storm(target, addresses, rate, seconds, session):
    """Malformed requests of every kind."""
    until = time.monotonic() + seconds
    crowd = Crowd(target, addresses)
    while (left := until - time.monotonic()) > 0:
        # The connection that is patched lives for ten seconds unless it connects.
        location, tag = await opened(target, addresses[0])
        await crowd.send(itertools.cycle(malformed(session, location, tag)), rate, time.monotonic() + min(left, 8))
    await crowd.settle()
    return crowd


async def opened(target, address):
    """The URL and the tag of a new connection; anything, if there is none to be had."""
    try:
        reader, writer = await asyncio.open_connection(*target, local_addr=(address, 0))
        body = offer(random.Random())
        writer.write(request("POST", "/whip?session=patched", "Content-Type: application/sdp\r\nConnection: close\r\n", body))
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")
        writer.close()
        fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        return fields.get("location", "/whip/0"), fields.get("etag", '"0"')
    except (OSError, TimeoutError, asyncio.TimeoutError, asyncio.IncompleteReadError):
        return "/whip/0", '"0"'


async def half_open(target, addresses, rate, count, lorises):
    """Offers whose sender never comes, each for a session of its own, and connections that say next to nothing."""
    chance = random.Random(5)
    fields = "Content-Type: application/sdp\r\n"
    offers = (request("POST", f"/whip?session=half-{number}", fields, offer(chance)) for number in range(count))
    crowd, pack = Crowd(target, addresses), Pack(target, addresses, lorises)
    far = time.monotonic() + 3600
    slow = asyncio.create_task(pack.run(far))
    await asyncio.sleep(2)
    await crowd.send(offers, rate, far, most_open=64)
    await crowd.settle(20)
    slow.cancel()
    crowd.lorises = {"most": pack.most, "lost": pack.lost}
    return crowd


class Attack:
    """An attack that runs beside."""

    def __init__(self, what, *arguments):
        self.results, far_end = multiprocessing.Pipe(False)
        # Nothing of this process is to be held open by the other one.
        context = multiprocessing.get_context("spawn")
        self.began = time.monotonic()
        self.process = context.Process(target=perform, args=(far_end, what, arguments), daemon=True)
        self.process.start()
        far_end.close()

    def is_over(self):
        return self.results.poll()

    def result(self, limit):
        """What it did and was told; `None` if it does not come to its end."""
        told = self.results.recv() if self.results.poll(limit) else None
        self.process.terminate()
        self.process.join()
        return told


def perform(results, what, arguments):
    """In a process of its own."""
    os.nice(10)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    began = time.monotonic()
    crowd = asyncio.run({"storm": storm, "half_open": half_open}[what](*arguments))
    seconds = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    results.send({
        "sent": crowd.sent,
        "not_sent": crowd.failed,
        "seconds": round(seconds, 1),
        "rate": round(crowd.sent / seconds),
        "answers": {str(status): count for status, count in sorted(crowd.answers.items(), key=str)},
        "cpu_share": round((usage.ru_utime + usage.ru_stime) / seconds, 3),
        **({"lorises": crowd.lorises} if hasattr(crowd, "lorises") else {}),
    })
