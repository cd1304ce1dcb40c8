"""What the measuring scripts share: the programs under test, what they use, and an offer of a sender that never comes."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=video 9 UDP/TLS/RTP/SAVPF 102
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=rtcp-mux
a=setup:actpass
a=ice-ufrag:{ufrag}
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 {fingerprint}
a=rtpmap:102 H264/90000
a=fmtp:102 packetization-mode=1;profile-level-id=42e01f
"""


def offer(chance):
    """An offer like no other."""
    fingerprint = ":".join(f"{chance.randrange(256):02X}" for _ in range(32))
    return OFFER.format(ufrag=f"u{chance.randrange(10**9)}", fingerprint=fingerprint).replace("\n", "\r\n").encode()


class Receiver:
    """A cv-receiver with its log in a file; on ports that are free, unless some are named."""

    def __init__(self, bin_dir, *options, ports=(0, 0, 0), stdout=None):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="cv-receiver-", suffix=".log")
        listen, media, ops = ports
        command = [os.path.join(bin_dir, "cv-receiver"), "--listen", f"127.0.0.1:{listen}", "--media-port", str(media)]
        command += ["--ops-listen", f"127.0.0.1:{ops}", *options]
        self.process = subprocess.Popen(command, stderr=self.log, stdout=stdout, text=True)
        media, self.url, self.host, port = self.wait_for(r"media on UDP port (\d+), listening on (http://(.*?):(\d+)/\S+)")
        self.port, self.media_port = int(port), int(media)

    def wait_for(self, pattern):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            with open(self.log.name, encoding="utf-8") as log:
                found = re.search(pattern, log.read())
            if found:
                return found.groups()
            time.sleep(0.02)
        self.process.kill()
        with open(self.log.name, encoding="utf-8") as log:
            sys.exit(f"the receiver did not start; its log:\n{log.read()}")

    def says(self, text):
        """How often the log has this text."""
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return sum(text in line for line in log)

    def is_alive(self):
        return self.process.poll() is None

    def state(self):
        """Memory in MB, descriptors, threads; nothing of one that ended."""
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
                fields = dict(line.split(":", 1) for line in status)
            descriptors = len(os.listdir(f"/proc/{self.process.pid}/fd"))
            return int(fields["VmRSS"].split()[0]) / 1024, descriptors, int(fields["Threads"])
        except (OSError, KeyError):
            return 0.0, 0, 0

    def analyzers(self):
        """Memory of the processes that analyse for it, in MB."""
        held = 0.0
        for child in children(self.process.pid):
            try:
                with open(f"/proc/{child}/statm", encoding="ascii") as sizes:
                    _, resident, shared, *_ = map(int, sizes.read().split())
            except OSError:
                continue
            # What it shares are pictures, counted with the receiver, and libraries.
            held += (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024
        return held

    def cpu(self):
        """Processor seconds so far."""
        return cpu_of(self.process.pid)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it; gives its processor seconds, and how long it took. 20 seconds are enough for anybody."""
        told = time.monotonic()
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            return wait(self.process, 20), time.monotonic() - told
        return 0.0, 0.0


class Watch:
    """Notes what a receiver uses, every so many seconds: time since the beginning, then as `Receiver.state` has it."""

    def __init__(self, receiver, period=0.5):
        self.receiver, self.period = receiver, period
        self.samples = []
        self.over = threading.Event()
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            self.samples.append((time.monotonic() - self.began, *self.receiver.state()))
            if self.over.wait(self.period):
                return

    def stop(self):
        """The samples."""
        self.over.set()
        self.thread.join()
        return [sample for sample in self.samples if sample[1] > 0]


def children(pid):
    """The processes that a process started and that run."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [int(child) for task in tasks for child in open(f"/proc/{pid}/task/{task}/children", encoding="ascii").read().split()]
    except OSError:
        return []


def cpu_of(pid):
    """Processor seconds that a running process has used."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def wait(process, limit):
    """Waits for `process` and gives its processor seconds; kills it after `limit` seconds."""
    timer = threading.Timer(limit, process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def sender(bin_dir, url, session, *options):
    """The command line of a cv-sender."""
    return [os.path.join(bin_dir, "cv-sender"), "--url", url, "--session", session, "--output", "json", *options]


def summary(text):
    """What a sender says at its end, if it does."""
    lines = [line for line in text.splitlines() if line.startswith('{"type":"summary"')]
    return json.loads(lines[-1]) if lines else None
