"""Measuring commands side by side, for scripts/bench.

The contenders of a group take turns. A run counts only when the machine was quiet: it waits for
an idle moment first, and is thrown away and repeated when other guests of the host took more than
2 % of the CPU time meanwhile (steal), or other programs on this machine more than 10 % (the
kernel's own threads, which write back what a contender left in the page cache, are among them).
"""
import os
import statistics
import subprocess
import sys
import time

STEAL_LIMIT = 0.02
OTHERS_LIMIT = 0.10
IDLE_BUSY_LIMIT = 0.05
MAX_REPEATS = 10
MAX_WAIT_S = 300
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_ticks():
    """All ticks of all CPUs; of them the stolen ones, and those in which something ran."""
    with open("/proc/stat") as f:
        user, nice, system, idle, iowait, irq, softirq, steal = \
            [int(x) for x in f.readline().split()[1:9]]
    busy = user + nice + system + irq + softirq
    return busy + idle + iowait + steal, steal, busy


def wait_until_idle():
    """Wait for half a second in which hardly anything ran; give up waiting in the end."""
    deadline = time.monotonic() + MAX_WAIT_S
    while time.monotonic() < deadline:
        total, _, busy = cpu_ticks()
        time.sleep(0.5)
        total2, _, busy2 = cpu_ticks()
        if busy2 - busy < IDLE_BUSY_LIMIT * max(1, total2 - total):
            return


def drop_caches():
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


class Contender:
    """A command; the file that it makes, which is removed before each run; whether its cost is
    the group's reference; and what is to be done, unmeasured, before each run."""

    def __init__(self, name, command, output=None, reference=False, before=None):
        self.name, self.command, self.output = name, command, output
        self.reference, self.before = reference, before


class Result:
    def __init__(self, wall, cpu, peak, size):
        self.wall, self.cpu, self.peak, self.size = wall, cpu, peak, size


def measure(contender, cold):
    """One run of a shell command. None when the machine was not quiet."""
    if contender.output and os.path.exists(contender.output):
        os.remove(contender.output)
    if contender.before:
        subprocess.run(["bash", "-c", contender.before], check=True)
    # What an earlier run left to be written must not be paid for by this one.
    subprocess.run(["sync"], check=True)
    if cold:
        drop_caches()
    wait_until_idle()
    total, stolen, busy = cpu_ticks()
    start = time.monotonic()
    process = subprocess.Popen(["bash", "-c", "set -o pipefail; " + contender.command],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"bench: failed ({status}): {contender.command}\n"
                 f"{errors.decode(errors='replace')}")
    total2, stolen2, busy2 = cpu_ticks()
    own = usage.ru_utime + usage.ru_stime
    all_ticks = max(1, total2 - total)
    others = (busy2 - busy) - own / TICK_S
    if (stolen2 - stolen) > STEAL_LIMIT * all_ticks or others > OTHERS_LIMIT * all_ticks:
        return None
    output = contender.output
    size = os.path.getsize(output) if output and os.path.exists(output) else None
    return Result(wall, own, usage.ru_maxrss / 1024, size)


class TooBusy(Exception):
    pass


def measure_quiet(contender, cold):
    for _ in range(MAX_REPEATS):
        result = measure(contender, cold)
        if result:
            return result
    raise TooBusy(contender.name)


def median(results):
    def pick(name):
        return statistics.median(getattr(r, name) for r in results)
    return Result(pick("wall"), pick("cpu"), pick("peak"), results[0].size)


def table_row(name, r, base):
    size = f"{r.size / 2**20:.1f}" if r.size is not None else ""
    size_ratio = f"{r.size / base.size:.3f}" if r.size and base.size else ""
    return (f"| {name} | {r.wall:.2f} | {r.cpu:.2f} | {r.peak:.0f} | {size} "
            f"| {r.wall / base.wall:.2f} | {r.cpu / max(base.cpu, 0.01):.2f} | {size_ratio} |")


def measure_all(contenders, runs, cold):
    results = {c.name: [] for c in contenders}
    for _ in range(runs):
        for contender in contenders:
            results[contender.name].append(measure_quiet(contender, cold))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def run_group(title, contenders, runs, cold):
    """Print the medians as a Markdown table, with ratios to the reference."""
    try:
        results = measure_all(contenders, runs, cold)
    except TooBusy as name:
        print(f"\n### {title}: left out, the machine was too busy for {name}\n", flush=True)
        return
    medians = {name: median(r) for name, r in results.items()}
    base = medians[next((c for c in contenders if c.reference), contenders[0]).name]
    print(f"\n### {title}{' (cold cache)' if cold else ''}\n")
    print("| | wall s | CPU s | peak MiB | MiB out | wall ratio | CPU ratio | size ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for contender in contenders:
        print(table_row(contender.name, medians[contender.name], base), flush=True)
