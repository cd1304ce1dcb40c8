"""Lays siege to a receiver, and looks at what those notice who are none of it.

    quiet      five live senders alone
    storm      the same beside a thousand malformed requests a second: once from a few addresses with the receiver's
               limits as they are, once from many addresses without a limit on the rate
    half-open  thousands of offers whose sender never comes, and connections that say a letter a second, beside a
               live sender and others that come and go
    kill       kill -9 while five live senders send; the receiver is back a second later

Fails if a live sender has less than 99.9 % of its pictures answered or a p99 of more than three times the quiet one,
if memory grows (by half-open sessions: beyond what their places may cost), if an honest sender is not served, or takes
more than five seconds to come back.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from attack import Attack
from lab import Receiver, Watch, sender, summary

LIVE = 5
PATTERN = ("--pattern", "texture", "--mode", "live")
ANSWERED, SLOWER, RETURN = 0.999, 3.0, 5.0
# Memory that a receiver may take and not give back while nothing but refused requests comes, beyond what live sessions
# take for their lines in that time: what its allocator keeps.
GROWTH_MB = 8.0
# What a place for a sender that never connects may cost, times the places that there are (--max-sessions).
PLACES_MB = 6.0 * 64
FEW = [f"127.0.0.{number}" for number in range(2, 6)]
MANY = [f"127.0.1.{number}" for number in range(1, 201)]
LORISES = 1500
PHASES = ("quiet", "storm", "half-open", "kill")


def step(text):
    print(f"siege: {text}", file=sys.stderr, flush=True)


class Guests:
    """Live senders that know nothing of the siege."""

    def __init__(self, bin_dir, url, count, seconds):
        self.logs = [tempfile.TemporaryFile("w+") for _ in range(count)]
        self.processes = []
        for number, log in enumerate(self.logs):
            command = sender(bin_dir, url, f"guest-{number}", *PATTERN, "--duration", str(seconds), "--out", os.devnull)
            self.processes.append(subprocess.Popen(command, stderr=log))

    def summaries(self, limit):
        """What each says at its end."""
        told = []
        for process, log in zip(self.processes, self.logs):
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.seek(0)
            told.append(summary(log.read()) or {"failed": process.returncode})
        return told


def live(told):
    """How the guests of one phase fared together; latencies of the median and of the worst one."""
    whole = [one for one in told if "failed" not in one]
    if not whole:
        return {"guests": len(told), "failed": len(told), "answered": 0.0}
    latency = {name: {"median": round(statistics.median(one["latency_ms"][name] for one in whole), 2),
                      "worst": round(max(one["latency_ms"][name] for one in whole), 2)} for name in ("p50", "p95", "p99")}
    answered = sum(one["results"] for one in whole) / sum(one["frames_sent"] for one in whole)
    return {"guests": len(told), "failed": len(told) - len(whole), "answered": round(answered, 5),
            "frames": sum(one["frames_sent"] for one in whole), "latency_ms": latency}


def memory(samples):
    """Of a receiver in MB: when all had come, at the end, and the most."""
    warm = [sample[1] for sample in samples if sample[0] > 5] or [sample[1] for sample in samples]
    part = max(1, len(warm) // 5)
    return {"warm": round(statistics.median(warm[:part]), 1), "end": round(statistics.median(warm[-part:]), 1),
            "most": round(max(warm), 1)}


def beside(bin_dir, seconds, options, attack=None):
    """Live senders for so long, and an attack that begins when all are there and ends before they do."""
    receiver = Receiver(bin_dir, "--no-print", *options)
    watch, guests = Watch(receiver), Guests(bin_dir, receiver.url, LIVE, seconds)
    time.sleep(3)
    before, began = receiver.cpu(), time.monotonic()
    attacker = attack(receiver) if attack else None
    did = attacker.result(seconds + 30) if attacker else None
    time.sleep(0 if attacker else seconds - 5)
    cpu = (receiver.cpu() - before) / (time.monotonic() - began)
    found = {**live(guests.summaries(seconds + 30)), "receiver_cpu_share": round(cpu, 3)}
    found["memory_mb"] = memory(watch.stop())
    found["panics"] = receiver.says("panicked")
    receiver.stop()
    return {**found, **({"attack": did} if attack else {})}


def storm(bin_dir, seconds, rate, addresses, options):
    # Guests come first, and go last.
    return beside(bin_dir, seconds, options, lambda receiver: Attack(
        "storm", (receiver.host, receiver.port), addresses, rate, seconds - 5, "guest-0"))


class Newcomers:
    """Honest senders, one after the other."""

    def __init__(self, bin_dir, url):
        self.bin_dir, self.url = bin_dir, url
        self.over = threading.Event()
        self.tried, self.waits, self.refused = 0, [], []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over.is_set():
            self.tried += 1
            began = time.monotonic()
            source = ("--pattern", "bars:size=320x240", "--frames", "30", "--mode", "live", "--timeout", "30")
            command = sender(self.bin_dir, self.url, f"newcomer-{self.tried}", *source, "--out", os.devnull)
            ran = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            told = summary(ran.stderr)
            if ran.returncode == 0 and told and told["results"] > 0:
                # A second of pictures; the rest is how long it took to be let in.
                self.waits.append(round(time.monotonic() - began - 1, 2))
            else:
                self.refused.append(ran.stderr.strip()[-200:])
            self.over.wait(0.5)

    def stop(self):
        self.over.set()
        self.thread.join()
        waited = {"median": round(statistics.median(self.waits), 2), "worst": max(self.waits)} if self.waits else None
        return {"tried": self.tried, "served": len(self.waits), "refused": self.refused[:5], "waited_s": waited}


def half_open(bin_dir, count, rate, options):
    """A live sender and newcomers beside offers whose sender never comes."""
    receiver = Receiver(bin_dir, "--no-print", *options)
    idle = receiver.state()
    guests = Guests(bin_dir, receiver.url, 1, 3600)
    time.sleep(3)
    watch, newcomers = Watch(receiver), Newcomers(bin_dir, receiver.url)
    before, began = receiver.cpu(), time.monotonic()
    attacker = Attack("half_open", (receiver.host, receiver.port), MANY, rate, count, LORISES)
    did = attacker.result(600)
    cpu = (receiver.cpu() - before) / (time.monotonic() - began)
    served, samples = newcomers.stop(), watch.stop()
    for guest in guests.processes:
        guest.send_signal(signal.SIGINT)
    found = {**live(guests.summaries(30)), "newcomers": served, "receiver_cpu_share": round(cpu, 3), "attack": did}
    found["memory_mb"] = {"idle": round(idle[0], 1), "most": round(max(sample[1] for sample in samples), 1)}
    found["most"] = {"descriptors": max(sample[2] for sample in samples), "threads": max(sample[3] for sample in samples)}
    # Those that never connect are given up after ten seconds.
    rest, deadline = receiver.state(), time.monotonic() + 20
    while time.monotonic() < deadline and (rest[1] > idle[1] + 8 or rest[2] > idle[2] + 1):
        time.sleep(0.5)
        rest = receiver.state()
    found["rest"] = {"memory_mb": round(rest[0], 1), "descriptors": rest[1] - idle[1], "threads": rest[2] - idle[2]}
    found["panics"] = receiver.says("panicked")
    receiver.stop()
    return found


class Returning:
    """A live sender whose results are heard one by one."""

    def __init__(self, bin_dir, url, number):
        command = sender(bin_dir, url, f"returning-{number}", *PATTERN, "--duration", "3600")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.heard = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            if line.startswith('{"type":"result"'):
                self.heard.append(time.monotonic())

    def heard_since(self, moment):
        """When it first heard something after that."""
        return next((heard for heard in list(self.heard) if heard > moment), None)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None


def free_ports():
    """Three ports that nobody has, the second for UDP."""
    taken = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def kill(bin_dir):
    """How long senders take to have results again, from when the receiver is back."""
    ports = free_ports()
    receiver = Receiver(bin_dir, "--no-print", ports=ports)
    senders = [Returning(bin_dir, receiver.url, number) for number in range(LIVE)]
    time.sleep(6)
    before = [bool(one.heard) for one in senders]
    receiver.kill()
    time.sleep(1)
    receiver = Receiver(bin_dir, "--no-print", ports=ports)
    back, returned = time.monotonic(), []
    while time.monotonic() < back + 30 and len(returned) < LIVE:
        returned = [heard - back for heard in (one.heard_since(back) for one in senders) if heard]
        time.sleep(0.02)
    time.sleep(2)
    statuses = [one.stop() for one in senders]
    receiver.stop()
    return {"senders": LIVE, "sent_before": sum(before), "returned": len(returned),
            "seconds": [round(one, 2) for one in sorted(returned)], "statuses": statuses}


def measure(options):
    report = {}
    seconds, wanted = options.seconds, options.phases or PHASES
    if "quiet" in wanted or "storm" in wanted:
        step(f"{LIVE} live senders alone for {seconds} s")
        report["quiet"] = beside(options.bin, seconds, [])
    if "storm" in wanted:
        step(f"beside {options.rate} malformed requests a second from {len(FEW)} addresses, with the limits as they are")
        report["storm_limited"] = storm(options.bin, seconds, options.rate, FEW, [])
        step(f"the same from {len(MANY)} addresses, without a limit on the rate")
        report["storm_unlimited"] = storm(options.bin, seconds, options.rate, MANY, ["--rate-limit", "0"])
    if "half-open" in wanted:
        step(f"{options.half_open} half-open sessions from {len(MANY)} addresses and {LORISES} slow connections")
        report["half_open"] = half_open(options.bin, options.half_open, options.rate, [])
        step("the same without a limit on the rate")
        report["half_open_unlimited"] = half_open(options.bin, options.half_open, options.rate, ["--rate-limit", "0"])
    if "kill" in wanted:
        step(f"kill -9 beside {LIVE} live senders")
        report["kill"] = kill(options.bin)
    report["faults"] = faults(report, options.rate)
    return report


def faults(report, rate):
    """Every limit that was broken."""
    found = []
    quiet = report.get("quiet")
    for name, phase in report.items():
        found += [f"{name}: {text}" for text in judge(phase, quiet, rate if name.startswith("storm") else None)]
    return found


def judge(phase, quiet, rate):
    if "guests" in phase:
        if phase["failed"] or phase["answered"] < ANSWERED:
            yield f"{phase['answered']:.3%} answered, {phase['failed']} live senders failed"
        if phase["panics"]:
            yield f"{phase['panics']} panics"
    attack = phase.get("attack", {})
    if attack is None:
        yield "the attack did not come to its end"
    if rate and "latency_ms" in phase:
        slower = phase["latency_ms"]["p99"]["median"] / quiet["latency_ms"]["p99"]["median"]
        if slower > SLOWER:
            yield f"p99 {slower:.1f} times the quiet one"
        grown, usual = (one["memory_mb"]["end"] - one["memory_mb"]["warm"] for one in (phase, quiet))
        if grown > usual + GROWTH_MB:
            yield f"memory grew by {grown:.1f} MB, {usual:.1f} MB without the storm"
        if attack and attack["rate"] < 0.95 * rate:
            yield f"only {attack['rate']} requests a second came about"
    if "newcomers" in phase:
        newcomers, used, rest = phase["newcomers"], phase["memory_mb"], phase["rest"]
        if newcomers["served"] < newcomers["tried"] or not newcomers["tried"]:
            yield f"{newcomers['served']} of {newcomers['tried']} newcomers were served: {newcomers['refused']}"
        if used["most"] > used["idle"] + PLACES_MB:
            yield f"memory grew from {used['idle']} to {used['most']} MB"
        if rest["descriptors"] > 8 or rest["threads"] > 1:
            yield f"{rest['descriptors']} descriptors and {rest['threads']} threads were left"
    if "statuses" in phase:
        if phase["returned"] < phase["senders"] or max(phase["seconds"], default=0) > RETURN:
            yield f"{phase['returned']} of {phase['senders']} senders came back, after {phase['seconds']} s"
        if any(phase["statuses"]):
            yield f"senders ended with {phase['statuses']}"


def table(report):
    print(f"{'':22}{'answered':>9}{'p50':>8}{'p99':>8}{'worst':>8}{'MB':>9}{'then':>7}{'CPU':>7}{'asked/s':>9}{'its CPU':>8}")
    for name, phase in report.items():
        if "guests" not in phase or "latency_ms" not in phase:
            continue
        used, latency, attack = phase["memory_mb"], phase["latency_ms"], phase.get("attack") or {}
        warm, end = list(used.values())[:2]
        asked = f"{attack['rate']:9}{attack['cpu_share']:8.2f}" if attack else ""
        print(f"{name:22}{phase['answered']:9.3%}{latency['p50']['median']:8.1f}{latency['p99']['median']:8.1f}"
              f"{latency['p99']['worst']:8.1f}{warm:9.1f}{end:7.1f}{phase['receiver_cpu_share']:7.2f}{asked}")
    for name, phase in report.items():
        if attack := "guests" in phase and phase.get("attack"):
            print(f"\n{name}: {attack['sent']} sent, {attack['not_sent']} not; answers {attack['answers']}")
        if "newcomers" in phase:
            newcomers, most, rest = phase["newcomers"], phase["most"], phase["rest"]
            print(f"  newcomers served {newcomers['served']} of {newcomers['tried']}, let in after {newcomers['waited_s']} s; "
                  f"slow connections {attack and attack['lorises']}\n  at most {most['descriptors']} descriptors, "
                  f"{most['threads']} threads; afterwards {rest}")
        if "statuses" in phase:
            print(f"\n{name}: {phase['returned']} of {phase['senders']} senders back, after {phase['seconds']} s")
    for fault in report["faults"]:
        print(f"BROKEN {fault}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/siege.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"{', '.join(PHASES)}; all of them by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seconds", type=int, default=60, help="length of quiet and storm")
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--half-open", type=int, default=10_000, help="sessions that never connect")
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    options = parser.parse_args()
    if unknown := set(options.phases) - set(PHASES):
        parser.error(f"there is no phase {', '.join(sorted(unknown))}")
    if options.seconds < 15 or options.rate < 1 or options.half_open < 1:
        parser.error("--seconds is at least 15, --rate and --half-open at least 1")
    report = measure(options)
    if options.json:
        print(json.dumps(report))
    else:
        table(report)
    sys.exit(1 if report["faults"] else 0)


if __name__ == "__main__":
    main()
