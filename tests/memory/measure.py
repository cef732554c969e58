"""The command line of `run`, the runs, and the table of results."""

import argparse
import itertools
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "end_to_end"))

import attacks
import confined
import crowd
from arena import Arena, Died
from broker import BINARY
from confined import MIB

LIMITS = [64, 128, 256]
SHORT_LIMITS = [64]
OVER = 8 * MIB
"""The memory that the process may take beyond the ceiling: code, stacks, the allocator's own."""
LEAST_CEILING = 32 * MIB
P99_MS = 100
METRICS_SECONDS = 5
TOLD = 12
"""The most names of counters in one row."""

COLUMNS = [("attack", -22), ("MiB", 4), ("shards", 6), ("store", -7), ("survived", -24), ("RSS", 5), ("cgroup", 6), ("TCP", 5)]
COLUMNS += [("lost", 6), ("p50", 6), ("p99", 7), ("max", 7), ("again", 5), ("s", 4), ("holds", -5)]
"""Name and width; on the left where that is negative. RSS, cgroup and TCP are MiB, where TCP is what the whole machine has in socket
buffers; p50 to max are ms; `again` counts connections that the honest pair lost."""

# Counters of what ended because a client wanted it, or because the client was there.
ORDINARY = re.compile(r'ended_connections_total\{reason="(disconnected|lost|session_taken_over)"\}')
LAST_WORDS = re.compile("panicked|allocation|ERROR")
COUNTED = re.compile(
    r"(dropped_messages|refused_publish|lost_publish|refused_connections|ended_connections|lost_log_lines|store_full|store_failed|"
    r"[a-z_]*(memory|refused|shed|slowed|waiting)[a-z_]*)(_total)?(\{.*\})?"
)


def main():
    known = attacks.load()
    options = arguments(known)
    # Cleans up as after an interrupt.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.list:
        for each in known.values():
            print(f"{each.name:22} {each.line}" + " (short version too)" * each.short)
        return
    parent, reason = (None, "--no-cgroup") if options.no_cgroup else confined.parent_of_cgroups()
    has_ceiling = knows_ceiling()
    runs = list(chosen(known, options))
    tell_bounds(parent, reason, has_ceiling, len(runs))
    print(header(), flush=True)
    started, failed = time.monotonic(), 0
    for attack, limit, shards, store in runs:
        failed += bool(run(attack, limit, shards, store, parent, options.short, has_ceiling))
    print(f"memory: {len(runs) - failed} passed, {failed} failed in {time.monotonic() - started:.0f} s")
    sys.exit(failed > 0)


def arguments(known):
    parser = argparse.ArgumentParser(
        prog="tests/memory/run",
        description="Attacks the real binary inside a bound on its memory, beside an honest pair, and prints a table.",
    )
    parser.add_argument("--only", action="append", choices=list(known), metavar="NAME", help="an attack; may be repeated")
    parser.add_argument("--limit", action="append", type=int, metavar="MIB", help="of the cgroup; default: 64, 128, 256")
    parser.add_argument("--shards", action="append", type=int, help="default: 1 and 2")
    stores = [attacks.DISK, attacks.MEMORY]
    parser.add_argument("--store", action="append", choices=stores, help="default: disk, and memory where it matters")
    parser.add_argument("--short", action="store_true", help="some attacks, smaller, in 64 MiB; how long the pair waited is not judged")
    parser.add_argument("--no-cgroup", action="store_true", help="bound the address space, as where no cgroup can be made")
    parser.add_argument("--list", action="store_true", help="name the attacks")
    parser.add_argument("--binary", metavar="PATH", help="instead of the one that is built, as GOLDCREST=PATH")
    return parser.parse_args()


def chosen(known, options):
    """The attack, bytes, shards and store of each run."""
    limits = options.limit or (SHORT_LIMITS if options.short else LIMITS)
    for attack in known.values():
        if attack.name not in (options.only or known) or options.short and not options.only and not attack.short:
            continue
        stores = options.store or (attack.stores[:1] if options.short else attack.stores)
        for limit, shards, store in itertools.product(limits, options.shards or attack.shards, stores):
            if shards in attack.shards and store in attack.stores:
                yield attack, limit * MIB, shards, store


def knows_ceiling():
    """Whether this program has the key `[memory] max`."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write('[memory]\nmax = "auto"\n')
        file.flush()
        done = subprocess.run([BINARY, "budget", "--config", file.name], capture_output=True)
    return done.returncode == 0


def tell_bounds(parent, reason, has_ceiling, runs):
    descriptors = crowd.raise_descriptors()
    print(f"{runs} runs, {descriptors} descriptors a process")
    if parent:
        print(f"bound: a memory cgroup of the broker's own below {parent}, without swap")
    else:
        print(f"bound: NO CGROUP ({reason}). An address-space limit stands in: private writable memory, as RLIMIT_DATA counts it.")
        print("       It shows aborts on failed allocations, and neither what the kernel would kill nor what it holds for sockets.")
    ours, limits = "[memory] max, half of the limit and at least 32 MiB", "the limit: this binary knows no [memory] max"
    print(f"ceiling: {ours if has_ceiling else limits}\n")


def run(attack, limit, shards, store, parent, short, has_ceiling):
    """Runs one row of the table. Returns the promises that were broken."""
    started = time.monotonic()
    ceiling = max(LEAST_CEILING, limit // 2) if has_ceiling else limit
    # In a cgroup the broker finds its bound by itself.
    config = f"[memory]\nmax = {ceiling}\n" if has_ceiling and not parent else None
    arena = Arena(attack, limit, shards, store, parent, short, config)
    try:
        survived = fight(arena)
        bad = verdict(arena, survived, ceiling)
        print(row(arena, survived, limit, store, time.monotonic() - started, bad))
        for line in details(arena, bad):
            print(f"    {line}")
        sys.stdout.flush()
        return bad
    finally:
        arena.close()


def fight(arena):
    """Starts everything, attacks, and stops everything. Returns how the broker ended."""
    try:
        arena.start()
        if arena.attack.pair_first:
            arena.start_pair()
        arena.attack.run(arena)
        arena.wait()
        arena.hold()
        if not arena.read_metrics(METRICS_SECONDS):
            arena.notes.append(f"/metrics did not answer within {METRICS_SECONDS} s")
        arena.leave()
        arena.hold()
        arena.read_metrics(METRICS_SECONDS)
        arena.stop_pair()
        arena.look()
        code = arena.broker.stop()
    except Died:
        arena.leave()
        arena.stop_pair()
        return ended(arena, arena.broker.process.returncode)
    except AssertionError as error:
        arena.notes.append(" ".join(str(error).split())[-300:])
        arena.leave()
        return ("killed at its start" if arena.bounds.killed() else "did not start") + " again" * arena.is_restarted
    if code is None:
        arena.notes.append("it did not stop at SIGTERM")
    elif code:
        return ended(arena, code) + " at its stop"
    return "restarted" if arena.is_restarted else "yes"


def ended(arena, code):
    last = [line for line in arena.broker.read_log().splitlines() if LAST_WORDS.search(line)]
    if last:
        arena.notes.append(last[0][:200])
    if code == -signal.SIGKILL:
        return "killed (out of memory)" if arena.bounds.killed() else "killed (SIGKILL)"
    if code == -signal.SIGABRT:
        return "aborted"
    return f"killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"


def verdict(arena, survived, ceiling):
    if survived not in ("yes", "restarted"):
        # Losses of the pair after the broker's end tell nothing more.
        return [survived]
    bad = []
    if arena.largest > ceiling + OVER:
        bad.append(f"RSS of {arena.largest / MIB:.0f} MiB is above the ceiling of {ceiling // MIB} MiB and {OVER // MIB}")
    if "it did not stop at SIGTERM" in arena.notes:
        bad.append("it did not stop")
    pair = arena.latencies
    if not pair or not pair["p99"]:
        return bad + ["no honest message came"]
    if pair["lost"]:
        bad.append(f"{pair['lost']} of {pair['sent']} honest messages lost")
    if pair["p99"] > P99_MS and not arena.short:
        bad.append(f"honest p99 {pair['p99']:.0f} ms")
    return bad


def header():
    return " ".join(f"{name:{'<' if width < 0 else '>'}{abs(width)}}" for name, width in COLUMNS)


def row(arena, survived, limit, store, seconds, bad):
    peak, pair = arena.bounds.peak(), arena.latencies or {}
    ms = lambda name: f"{pair[name]:.1f}" if pair.get(name) else "-"
    cells = [arena.attack.name, limit // MIB, arena.shards, store, survived]
    cells += [arena.largest // MIB, peak // MIB if peak else "-", arena.sockets // MIB]
    cells += [pair.get("lost", "-"), ms("p50"), ms("p99"), ms("max"), pair.get("reconnects", "-"), f"{seconds:.0f}"]
    cells += ["FAIL" if bad else "yes"]
    return " ".join(f"{cell:{'<' if width < 0 else '>'}{abs(width)}}" for cell, (_, width) in zip(cells, COLUMNS))


def details(arena, bad):
    """The counters of the broker, the results of the attackers, and the failures."""
    is_told = lambda name: COUNTED.fullmatch(name) and not ORDINARY.match(name)
    counted = {name: value for name, value in arena.samples.items() if value and is_told(name)}
    if counted:
        yield "counted: " + listed(counted)
    if arena.counts:
        sent = arena.counts.pop("bytes", 0)
        yield f"attackers: {sent / 1e6:.0f} MB sent, " + listed(arena.counts)
    pair = arena.latencies or {}
    if pair.get("refused") or pair.get("doubled"):
        arena.notes.append(f"honest pair: {pair['refused']} refused, {pair['doubled']} came twice")
    if pair.get("late", 0) > P99_MS / 2:
        arena.notes.append(f"the pair itself was woken up to {pair['late']:.0f} ms late: the machine is busy")
    if arena.notes:
        yield "notes: " + "; ".join(arena.notes)
    if bad:
        yield "FAIL: " + "; ".join(bad)


def listed(counts):
    most = sorted(counts.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name.replace('_total', '')} {count:.0f}" for name, count in most[:TOLD])
    return text + f" and {len(most) - TOLD} more" * (len(most) > TOLD)


if __name__ == "__main__":
    main()
