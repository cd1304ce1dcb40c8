"""Soaks one receiver in what a network has to offer, and looks for what grows or gets lost.

All at once, over loopback: sessions that stay, sessions that come and go every second or two, senders that
are killed, offers whose sender never connects, readers that read slowly or not at all, clients that speak no
HTTP, requests of nonsense, datagrams of nonsense on the media port. The receiver takes its options from the
environment as ever: CV_ANALYZE names what it analyses pictures with.

Fails if, after a warm-up of twenty minutes (or half of the time), memory of the receiver or of the processes that analyse
for it grows by more than 1 MB an hour beyond what an allocator may be unsteady by, an analyzer fails, descriptors or threads do not come back to what they were, a frame of a sender that ended well is neither answered nor accounted for,
a steady session misses more than a thousandth of its frames, or the receiver does not stop when told.
"""

import argparse
import base64
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

from lab import Receiver, offer, sender, summary

STEADY = 3
MEMORY_SLOPE = 1.0
# What sessions that come and go leave behind in an allocator goes up and down by this much, in MB.
UNSTEADY = 3.0
# The heap is as large as the busiest moment so far made it, and the busiest moments are rare.
WARM_UP = 1200


class Lines:
    """What the receiver prints: counted, and the ends of sessions kept."""

    def __init__(self, stdout):
        self.stdout = stdout
        self.closed = []
        self.count = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.stdout:
            self.count += 1
            if '"event":"closed"' in line:
                self.closed.append(json.loads(line))


class Load:
    """Everything that happens to the receiver. Each part runs in a thread of its own until `over`."""

    def __init__(self, bin_dir, receiver, seed):
        self.bin_dir = bin_dir
        self.receiver = receiver
        self.chance = random.Random(seed)
        self.over = threading.Event()
        self.faults = []
        self.count = dict.fromkeys(("short", "killed", "half_open", "readers", "nonsense"), 0)
        self.steady_frames = self.steady_results = 0
        parts = [self.short, self.killed, self.half_open, self.readers, self.slow_http, self.nonsense, self.datagrams]
        self.threads = [threading.Thread(target=self.steady, args=(number,)) for number in range(STEADY)]
        self.threads += [threading.Thread(target=part) for part in parts]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)

    def command(self, session, *more):
        return sender(self.bin_dir, self.receiver.url, session, *more)

    def steady(self, number):
        """A camera that stays: live, its lines read by the sender and checked here."""
        command = self.command(f"steady-{number}", "--pattern", "bars:size=320x240", "--duration", "864000", "--mode", "live")
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ending = threading.Thread(target=lambda: (self.over.wait(), sender.send_signal(signal.SIGINT)))
        ending.start()
        next_frame = results = 0
        for line in sender.stdout:
            said = json.loads(line)
            first, last = (said.get("frame"),) * 2 if said["type"] == "result" else (said.get("from"), said.get("to"))
            if first is None:
                continue
            if first != next_frame:
                self.faults.append(f"steady-{number}: frame {next_frame} was due, {first} came")
            next_frame = last + 1
            if said.get("errors"):
                self.faults.append(f"steady-{number}: frame {first}: {said['errors']}")
            results += said["type"] == "result"
        said = sender.stderr.read()
        if sender.wait() != 0:
            self.faults.append(f"steady-{number}: exit {sender.returncode}: {said[-300:]}")
        self.steady_frames += next_frame
        self.steady_results += results

    def short(self):
        """Clips one after the other, every frame of which must be answered."""
        while not self.over.is_set():
            self.count["short"] += 1
            frames = self.chance.randint(1, 120)
            more = self.chance.choice([[], ["--keep-session"], ["--results", "http"]])
            session = f"short-{self.count['short'] % 50}"
            command = self.command(session, "--pattern", "texture:size=320x240", "--frames", str(frames), "--pace", "max", *more)
            ran = subprocess.run([*command, "--out", os.devnull], stderr=subprocess.PIPE, text=True)
            told = summary(ran.stderr) or {}
            if ran.returncode != 0 or told.get("results") != frames:
                self.faults.append(f"{session}: exit {ran.returncode}, {told or ran.stderr[-300:]}")
            self.over.wait(self.chance.uniform(0.2, 2))

    def killed(self):
        """Senders that end without a word."""
        while not self.over.is_set():
            self.count["killed"] += 1
            command = self.command(f"killed-{self.count['killed'] % 20}", "--pattern", "bars:size=320x240", "--duration", "60")
            sender = subprocess.Popen([*command, "--out", os.devnull], stderr=subprocess.DEVNULL)
            self.over.wait(self.chance.uniform(0.05, 3))
            sender.kill()
            sender.wait()
            self.over.wait(self.chance.uniform(1, 4))

    def half_open(self):
        """Offers whose sender never connects, under names of their own."""
        while not self.over.is_set():
            self.count["half_open"] += 1
            name = f"{self.receiver.url}?session=half-{self.count['half_open']}"
            request = urllib.request.Request(name, offer(self.chance), {"Content-Type": "application/sdp"})
            try:
                urllib.request.urlopen(request, timeout=10).read()
            except OSError as error:
                # Too many at once are sent away; anything else is a fault.
                if getattr(error, "code", None) not in (429, 503):
                    self.faults.append(f"half-open offer: {error}")
            self.over.wait(self.chance.uniform(0.3, 1.5))

    def readers(self):
        """Readers of results that read slowly, not at all, or leave in the middle."""
        kept = []
        while not self.over.is_set():
            self.count["readers"] += 1
            path = f"/cv/session/steady-{self.chance.randrange(STEADY)}/results"
            head = self.chance.choice([
                "Accept: application/x-ndjson\r\n",
                "",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(self.chance.randbytes(16)).decode()}\r\n",
            ])
            reader = self.connect(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
            kept += [reader] if reader else []
            for reader in list(kept):
                self.nibble(reader, kept)
            if len(kept) > 12:
                kept.pop(0).close()
            self.over.wait(self.chance.uniform(0.5, 2))
        for reader in kept:
            reader.close()

    def nibble(self, reader, kept):
        try:
            if self.chance.random() < 0.5:
                reader.recv(self.chance.choice([1, 4096]))
        except TimeoutError:
            pass
        except OSError:
            reader.close()
            kept.remove(reader)

    def slow_http(self):
        """Requests that never come to their end."""
        hanging = []
        while not self.over.is_set():
            client = self.connect(b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n")
            hanging += [client] if client else []
            if len(hanging) > 50:
                hanging.pop(0).close()
            self.over.wait(0.2)
        for client in hanging:
            client.close()

    def nonsense(self):
        """Requests that make no sense."""
        requests = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nhello",
            b"PATCH /whip/0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
            b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
            b"DELETE /cv/session/%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /cv/session/steady-0/results HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n",
        ]
        while not self.over.is_set():
            self.count["nonsense"] += 1
            client = self.connect(self.chance.choice(requests))
            if client:
                self.over.wait(0.02)
                client.close()
            self.over.wait(0.05)

    def datagrams(self):
        """Datagrams of nonsense on the media port."""
        target = (self.receiver.host, self.receiver.media_port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not self.over.is_set():
                first = self.chance.choice([0, 1, 20, 22, 23, 128, 144, 200, 255])
                out.sendto(bytes([first]) + self.chance.randbytes(self.chance.randrange(1400)), target)
                self.over.wait(0.01)

    def connect(self, said):
        try:
            client = socket.create_connection((self.receiver.host, self.receiver.port), timeout=5)
            client.sendall(said)
            client.settimeout(0.01)
            return client
        except OSError as error:
            self.faults.append(f"cannot connect: {error}") if not self.over.is_set() else None
            return None


def slope(samples):
    """What the second of each pair grows by an hour, by least squares."""
    return statistics.linear_regression(*zip(*samples)).slope * 3600


def growth(samples):
    """How memory went: the middle of either half, and what it grew by an hour."""
    half = len(samples) // 2
    first, second = (round(statistics.median(memory for _, memory in part), 2) for part in (samples[:half], samples[half:]))
    return {"first_half": first, "second_half": second, "slope_per_hour": round(slope(samples), 2)}


def soak(bin_dir, minutes, seed):
    receiver = Receiver(bin_dir, "--session-ttl", "20", "--rate-limit", "0", stdout=subprocess.PIPE)
    lines = Lines(receiver.process.stdout)
    idle = receiver.state()
    load = Load(bin_dir, receiver, seed)
    load.start()
    began = time.monotonic()
    samples = []
    while (since := time.monotonic() - began) < minutes * 60:
        if not receiver.is_alive():
            load.faults.append(f"the receiver ended: {receiver.process.returncode}")
            break
        samples.append((since, *receiver.state(), receiver.analyzers()))
        if len(samples) % 60 == 0:
            memory, descriptors, threads, analyzers = samples[-1][1:]
            print(f"{since / 60:5.1f} min  {memory:6.1f} MB  analyzers {analyzers:6.1f} MB  {descriptors:3} fds  {threads:2} threads  {load.count}", file=sys.stderr)
        time.sleep(1)
    load.stop()
    # Lost senders and remembered sessions take their time to be forgotten.
    deadline = time.monotonic() + 60
    while receiver.is_alive() and time.monotonic() < deadline and left_over(receiver.state(), idle):
        time.sleep(1)
    rest = receiver.state()
    _, seconds = receiver.stop()
    status = receiver.process.returncode
    return report(lines, load, {"idle": idle, "samples": samples, "rest": rest, "stop": (seconds, status)})


def left_over(state, idle):
    """What there is more than before."""
    names = (("descriptors", 1, 2), ("threads", 2, 1))
    return [f"{what}: {idle[index]} before, {state[index]} after" for what, index, slack in names if state[index] > idle[index] + slack]


def report(lines, load, seen):
    span = seen["samples"][-1][0]
    warm = [sample for sample in seen["samples"] if sample[0] > min(WARM_UP, span / 2)]
    allowed = MEMORY_SLOPE + UNSTEADY * 3600 / (span - warm[0][0])
    seconds, status = seen["stop"]
    faults = list(load.faults)
    memory = {what: growth([(sample[0], sample[index]) for sample in warm]) for what, index in (("receiver", 1), ("analyzers", 4))}
    for what, grown in memory.items():
        if grown["slope_per_hour"] > allowed:
            faults.append(f"memory of the {what} grew by {grown['slope_per_hour']} MB an hour, where {allowed:.2f} may be chance")
    faults += left_over(seen["rest"], seen["idle"])
    answered = load.steady_results / max(load.steady_frames, 1)
    if answered < 0.999:
        faults.append(f"steady sessions: {answered:.2%} answered")
    if status != 0 or seconds > 5:
        faults.append(f"the receiver took {seconds:.1f} s to stop, with status {status}")
    for line in lines.closed:
        totals = line["totals"]
        if totals["decoded"] < totals["analyzed"] or totals["received"] < totals["decoded"]:
            faults.append(f"totals of {line['session']} do not add up: {totals}")
    return {
        "minutes": round(seen["samples"][-1][0] / 60, 1),
        "did": load.count,
        "steady": {"sessions": STEADY, "frames": load.steady_frames, "answered": round(answered, 5)},
        "lines": lines.count,
        "memory_mb": {"idle": round(seen["idle"][0], 1), "rest": round(seen["rest"][0], 1), **memory},
        "descriptors": {"idle": seen["idle"][1], "most": max(sample[2] for sample in warm), "rest": seen["rest"][1]},
        "threads": {"idle": seen["idle"][2], "most": max(sample[3] for sample in warm), "rest": seen["rest"][2]},
        "stop_seconds": round(seconds, 2),
        "faults": faults[:50],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder with the programs")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1, help="where the chances begin")
    parser.add_argument("--json", action="store_true", help="one object, on one line")
    options = parser.parse_args()
    found = soak(options.bin, options.minutes, options.seed)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
