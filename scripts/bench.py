"""Measures the pipeline of two processes over loopback against the floor of cv-floor.

The same pictures everywhere: --pattern texture, 1280x720 at 30 fps, the centre 896x504 at 1500 kbit/s,
analyzer stats. Processor time is user and system time of both processes as the kernel accounts it at
their end, less that of a run of one picture (start, texture, connection): what one more picture costs.
`processes_cpu_ms_per_frame` is the same without that subtraction.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from lab import Receiver, Watch, summary, wait

FPS = 30
KBIT = 1500


def run(bin_dir, frames, options, sessions=1):
    """One receiver and so many senders at once; what they say and what they cost."""
    receiver = Receiver(bin_dir, "--no-print")
    idle, watch = receiver.state()[0], Watch(receiver)
    command = [os.path.join(bin_dir, "cv-sender"), "--url", receiver.url, "--pattern", "texture", "--bitrate", str(KBIT)]
    command += ["--frames", str(frames), "--output", "json", "--out", os.devnull, *options]
    errors = [tempfile.TemporaryFile("w+") for _ in range(sessions)]
    senders = []
    for log in errors:
        senders.append(subprocess.Popen(command, stderr=log))
        # Senders come one after the other: what a dozen starts in one moment cost is not what is measured.
        time.sleep(0.3 if sessions > 1 else 0)
    limit = 60 + 4 * frames / FPS
    try:
        sender_cpu = sum(wait(sender, limit) for sender in senders)
        end, samples = receiver.state()[0], watch.stop()
        memory = {"idle": idle, "peak": max(sample[1] for sample in samples), "end": end}
        receiver_cpu, _ = receiver.stop()
    finally:
        for process in (*senders, receiver.process):
            if process.returncode is None:
                process.kill()
    summaries = [said(log) for log in errors]
    if not all(summaries):
        sys.exit(f"bench: a sender failed: {' '.join(command)}")
    return {
        "summaries": summaries,
        "sender_cpu": sender_cpu,
        "receiver_cpu": receiver_cpu,
        "memory": memory,
        "frames": sum(one["frames_sent"] for one in summaries),
    }


def said(log):
    log.seek(0)
    return summary(log.read())


def cost(ran, setup, floor):
    """Processor milliseconds a picture, as a multiple of the floor's, too. `setup` is a run of one picture."""
    sessions, frames = len(ran["summaries"]), ran["frames"]
    more = max(frames - sessions, 1)

    def each(side):
        # A receiver starts once, however many senders come; the other connections stay in its bill.
        return (ran[side] - setup[side] * (sessions if side == "sender_cpu" else 1)) / more * 1e3

    sender, receiver = each("sender_cpu"), each("receiver_cpu")
    whole = (ran["sender_cpu"] + ran["receiver_cpu"]) / frames * 1e3
    return {
        "cpu_ms_per_frame": round(sender + receiver, 3),
        "ratio_to_floor": round((sender + receiver) / floor["cpu_ms_per_frame"], 3),
        "sender_cpu_ms_per_frame": round(sender, 3),
        "receiver_cpu_ms_per_frame": round(receiver, 3),
        "processes_cpu_ms_per_frame": round(whole, 3),
    }


def single(ran, setup, floor):
    """One session: cost, speed, latency."""
    told = ran["summaries"][0]
    return {**cost(ran, setup, floor), "fps": told["fps"], "answered_share": told["results"] / told["frames_sent"],
            "latency_ms": told["latency_ms"]}


def crowd(ran, setup, floor):
    """Many sessions at once: how much was answered, how fast the slowest were."""
    told = ran["summaries"]
    latency = {name: {"median": statistics.median(one["latency_ms"][name] for one in told),
                      "worst": max(one["latency_ms"][name] for one in told)} for name in ("p50", "p95", "p99")}
    return {"n": len(told), "answered_share": round(sum(one["results"] for one in told) / ran["frames"], 4),
            **cost(ran, setup, floor), "fps_each": round(statistics.mean(one["fps"] for one in told), 2),
            "latency_ms": latency}


def measure(bin_dir, seconds, sessions):
    frames = max(2, seconds * FPS)
    load = os.getloadavg()[0]

    def step(text):
        print(f"bench: {text}", file=sys.stderr)

    step(f"floor, {frames} pictures unpaced and paced")
    floor = floors(bin_dir, frames, 1)[0]
    # Two processes share caches, memory and, in a virtual machine, often one core: codecs alone cost more then.
    step("floor, two at once")
    twins = floors(bin_dir, 10 * FPS, 2)
    floor["unpaced_two_at_once"] = {
        name: round(statistics.mean(one["unpaced"][name] for one in twins), 3) for name in twins[0]["unpaced"]}
    step("start and connection alone, three times")
    setups = [run(bin_dir, 1, []) for _ in range(3)]
    setup = {side: statistics.median(one[side] for one in setups) for side in ("sender_cpu", "receiver_cpu")}
    step("one session, as fast as it goes")
    fastest = run(bin_dir, frames, ["--pace", "max"])
    step("one session at 30 fps, live")
    live = run(bin_dir, frames, ["--mode", "live"])
    step("one session at 30 fps, every frame")
    every = run(bin_dir, frames, ["--mode", "every-frame"])
    step(f"{sessions} sessions at 30 fps, live")
    many = run(bin_dir, 10 * FPS, ["--mode", "live"], sessions)
    memory = many["memory"]
    connects = [one["summaries"][0]["connect_ms"] for one in (*setups, fastest, live, every)]
    return {
        "machine": {"cpu": processor(), "threads": os.cpu_count(), "system": platform.platform()},
        "conditions": {"frames": frames, "sent": "896x504", "fps": FPS, "kbit": KBIT, "load_before": round(load, 2)},
        "floor": floor,
        "pipeline": {
            "max": {**single(fastest, setup, floor["unpaced"]), "ratio_to_two_at_once": round(
                cost(fastest, setup, floor["unpaced_two_at_once"])["ratio_to_floor"], 3)},
            "paced": single(live, setup, floor["paced"]),
            "paced_every_frame": single(every, setup, floor["paced"]),
            "connect_ms": statistics.median(connects),
            "setup_cpu_ms": {side[:-4]: round(setup[side] * 1e3, 1) for side in setup},
            "sessions": crowd(many, setup, floor["paced"]),
            "rss_mb": {"receiver_idle": round(memory["idle"], 1), "receiver_peak": round(memory["peak"], 1),
                       "receiver_end": round(memory["end"], 1),
                       "per_session": round((memory["peak"] - memory["idle"]) / sessions, 2)},
        },
    }


def floors(bin_dir, frames, count):
    """The floor, measured by so many processes at the same time."""
    command = [os.path.join(bin_dir, "cv-floor"), str(frames), str(KBIT)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    return [json.loads(one.communicate(timeout=60 + 4 * frames / FPS)[0]) for one in running]


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(report):
    floor, pipeline = report["floor"], report["pipeline"]
    machine = report["machine"]
    print(f"{machine['cpu']}, {machine['threads']} threads, {machine['system']}")
    conditions = report["conditions"]
    print(f"texture 1280x720, 896x504 sent at {KBIT} kbit/s, {conditions['frames']} pictures; load before {conditions['load_before']}\n")
    print(f"{'floor':20}{'ms CPU':>8}" + "".join(f"{name[:-3]:>9}" for name in floor["paced"] if name.endswith("_ms")))
    for name, row in floor.items():
        stages = "".join(f"{row[stage]:9.3f}" for stage in row if stage.endswith("_ms"))
        print(f"{name:20}{row['cpu_ms_per_frame']:8.3f}{stages}")
    print(f"\n{'pipeline':20}{'ms CPU':>8}{'of floor':>9}{'sender':>8}{'receiver':>9}{'fps':>8}{'answered':>9}{'p50':>8}{'p95':>8}{'p99':>8}")
    for name in ("max", "paced", "paced_every_frame"):
        pipeline_row(name, pipeline[name], pipeline[name]["fps"], pipeline[name]["latency_ms"])
    print(f"{'':20}max is {pipeline['max']['ratio_to_two_at_once']:.2f}x the floor of two at once")
    many = pipeline["sessions"]
    pipeline_row(f"{many['n']} sessions", many, many["fps_each"], {name: many["latency_ms"][name]["median"] for name in many["latency_ms"]})
    memory = pipeline["rss_mb"]
    print(f"\nconnected in {pipeline['connect_ms']} ms; receiver {memory['receiver_idle']} MB idle, {memory['receiver_peak']} MB "
          f"with {many['n']} sessions ({memory['per_session']} MB each), {memory['receiver_end']} MB after them")


def pipeline_row(name, one, fps, latency):
    print(f"{name:20}{one['cpu_ms_per_frame']:8.3f}{one['ratio_to_floor']:8.2f}x{one['sender_cpu_ms_per_frame']:8.3f}"
          f"{one['receiver_cpu_ms_per_frame']:9.3f}{fps:8.1f}{one['answered_share']:9.1%}"
          f"{latency['p50']:8.1f}{latency['p95']:8.1f}{latency['p99']:8.1f}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="CPU, speed, latency and memory against the floor.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seconds", type=int, default=20, help="length of each run of one session")
    parser.add_argument("--sessions", type=int, default=12, help="senders at once in the last run, of ten seconds")
    parser.add_argument("--bin", default="target/release", help="where the programs are")
    options = parser.parse_args()
    if options.seconds < 1 or options.sessions < 1:
        parser.error("--seconds and --sessions are at least 1")
    report = measure(options.bin, options.seconds, options.sessions)
    if options.json:
        print(json.dumps(report))
    else:
        table(report)


if __name__ == "__main__":
    main()
