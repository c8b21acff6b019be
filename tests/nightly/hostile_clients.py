"""Strangers do to a CAS whatever they can think of, while one honest program attests all the time.

Usage: hostile_clients.py [--seconds 600] [--clients 8] [--seed N] [--slowest 1.0] [--memory 400] [--only ATTACK …]

The CAS is the installed command with its defaults. Each hostile client has an address of its own, 127.0.0.2 and up, and
keys of its own; it draws one attack after the other, several at a time. Required, else this ends with 1: no honest
attestation fails or takes longer than one second (--slowest), the CAS and its children stay below 400 MB, the disk
grows by 50 MB at most, no answer to a stranger holds what belongs to the honest client or is a bug's (500), and the CAS
is healthy at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import logging
import multiprocessing
import os
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from nightly.hostile import honest, tarpits
from nightly.hostile.connections import CONNECTIONS
from nightly.hostile.honest import PASSWORD, Attempt, Write
from nightly.hostile.requests import REQUESTS
from nightly.hostile.watched import WatchedCas
from nightly.hostile.wire import Hostile, Over, Tally, context_for, outcome_of
from sconectl.runtime.link import open_channel

SLOWEST = 1.0
MEMORY = 400.0
DISK = 50.0
PROCESSES = 2
LANES = 3
"""How many attacks a client makes at the same time."""
NICE = 10
SHOWN = 8

ATTACKS = REQUESTS + CONNECTIONS

_fork = multiprocessing.get_context("fork")
Queue = Any


def attack(clients: list[Hostile], only: Sequence[str], queue: Queue) -> None:
    """Let these clients strike until their time is over; puts one tally into the queue."""
    os.nice(NICE)
    threads = [threading.Thread(target=_strikes, args=(client, only)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Tally()
    for client in clients:
        whole.merge(client.tally)
    queue.put(whole)


def _strikes(client: Hostile, only: Sequence[str]) -> None:
    weights, attacks = zip(*(row for row in ATTACKS if not only or row[1].__name__ in only), strict=True)
    while not client.over:
        [strike] = client.rng.choices(attacks, weights)
        client.attack = strike.__name__
        started = time.monotonic()
        try:
            client.breathe()
            strike(client)
        except Over:
            pass
        except OSError as error:
            client.note(outcome_of(error))
            client.rest(0.05)
        except Exception as fault:
            client.tally.faults.append(f"{client.attack}: {fault!r}")
        client.tally.strikes[client.attack] += 1
        client.tally.spans.append((client.attack, started, time.monotonic()))


def traps(queue: Queue) -> None:
    """Serve the tarpits; puts their ports and their key hash into the queue."""
    os.nice(NICE)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # whoever hangs up on a tarpit does right
    asyncio.run(tarpits.serve(lambda ports, key: queue.put((ports, key))))


def started(work: Callable[..., None], *arguments: Any) -> tuple[Any, Queue]:
    """Start a process whose result comes through the queue."""
    queue = _fork.Queue()
    process = _fork.Process(target=work, args=(*arguments, queue), daemon=True)
    process.start()
    return process, queue


def campaign(
    seconds: float, clients: int, seed: int, bounds: tuple[float, float], only: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Run it; return the lines of the report, and what was missed."""
    root = Path(tempfile.mkdtemp(prefix="sconectl-hostile-"))
    cas = WatchedCas(root)
    cas.start()
    measurement = secrets.token_hex(32)
    hash_ = _prepare(cas, measurement)
    cas_key = cas.run("cas", "show-identification", "--dir", root / "cas").strip()
    trap, announced = started(traps)
    ports, key = announced.get(timeout=30)
    cas.watch()
    until = time.monotonic() + seconds
    targets = (("key", key), *((manner, str(port)) for manner, port in ports))
    canaries = tuple(text.encode() for text in (PASSWORD, measurement, hash_))
    made = [
        Hostile(f"127.0.0.{2 + number}", cas.address, until, canaries, targets,
                random.Random(f"{seed} {number} {lane}"), Tally())
        for number in range(clients) for lane in range(LANES)
    ]  # fmt: skip
    address = f"{cas.address[0]}:{cas.address[1]}"
    working = [started(_queued_last(honest.attests), address, cas_key, measurement, until),
               started(_queued_last(honest.works), cas.address, until)]  # fmt: skip
    share = -(-len(made) // PROCESSES)
    hostile = [started(attack, made[first : first + share], only) for first in range(0, len(made), share)]
    attempts, writes = (queue.get(timeout=seconds + 120) for _, queue in working)
    tally = Tally()
    for _, queue in hostile:
        tally.merge(queue.get(timeout=120))
    healthy = _health(cas)
    cas.unwatch()
    trap.terminate()
    missed = _missed(cas, attempts, tally, bounds) + healthy
    if not missed:
        shutil.rmtree(root)
    else:
        missed.append(f"(its directory is kept: {root})")
    return _report(cas, attempts, writes, tally), missed


def _queued_last(work: Callable[..., Any]) -> Callable[..., None]:
    def wrapped(*arguments: Any) -> None:
        arguments[-1].put(work(*arguments[:-1]))

    return wrapped


def _prepare(cas: WatchedCas, measurement: str) -> str:
    """Create the session of the honest program and return its hash."""
    link = http.client.HTTPSConnection(*cas.address, timeout=30, context=context_for(open_channel()))
    link.request("POST", "/v1/sessions", honest.policy(measurement))
    answer = link.getresponse()
    content = answer.read()
    link.close()
    if answer.status != 201:
        raise SystemExit(f"the honest session was not created: {answer.status} {content!r}")
    return str(json.loads(content)["hash"])


def _health(cas: WatchedCas) -> list[str]:
    """Return what is wrong with the CAS after all of it."""
    if cas.process() != cas.pid:
        return ["the CAS has died"]
    found = []
    link = http.client.HTTPSConnection(*cas.address, timeout=10, context=context_for(None))
    try:
        link.request("GET", "/readyz")
        answer = link.getresponse()
        if answer.status != 200:
            found.append(f"/readyz says {answer.status} {answer.read()[:200]!r}")
    except OSError as error:
        found.append(f"/readyz does not answer: {error}")
    finally:
        link.close()
    cas.run("cas", "verify-audit-log", "--dir", cas.root / "cas")
    cas.run("cas", "stop", "--dir", cas.root / "cas")
    return found


def _missed(cas: WatchedCas, attempts: list[Attempt], tally: Tally, bounds: tuple[float, float]) -> list[str]:
    slowest, memory = bounds
    failed = [attempt.fault for attempt in attempts if attempt.fault]
    slow = [attempt for attempt in attempts if attempt.seconds > slowest]
    found = []
    if failed:
        found.append(f"{len(failed)} honest attestations failed: {failed[0]}")
    if slow or not attempts:
        found.append(f"{len(slow)} of {len(attempts)} honest attestations took longer than {slowest} s")
    if cas.peak > memory:
        found.append(f"the CAS took {cas.peak:.0f} MB of memory; at most {memory:.0f}")
    if cas.grown > DISK:
        found.append(f"its directory grew by {cas.grown:.0f} MB; at most {DISK:.0f}")
    broken = {f"{attack}: {outcome}" for attack, outcomes in tally.outcomes.items() for outcome in outcomes
              if outcome.startswith("500")}  # fmt: skip
    found += [f"the CAS has a bug: {one}" for one in sorted(broken)]
    found += [f"this campaign is at fault: {fault}" for fault in tally.faults[:5]]
    found += [f"an answer tells too much: {leak}" for leak in tally.leaks[:5]]
    return found


def _report(cas: WatchedCas, attempts: list[Attempt], writes: list[Write], tally: Tally) -> list[str]:
    lines = [_attested(attempts), *(f"  {_shown(attempt, tally)}" for attempt in _slowest(attempts)), _written(writes)]
    lines.append(f"memory of the CAS: {cas.peak:.0f} MB at most, in {cas.processes} processes")
    lines.append(f"disk: {cas.grown:.1f} MB more, of which the log of the server has {cas.log / 1e6:.1f} MB")
    lines.append(f"largest answer to a stranger: {tally.largest / 1e6:.1f} MB")
    lines.append("what became of the hostile requests:")
    whole: Counter[str] = Counter()
    for outcomes in tally.outcomes.values():
        whole.update(outcomes)
    lines += [f"  {number:7} {outcome}" for outcome, number in whole.most_common(60)]
    lines.append("attacks (strikes, their share of the time, what they mostly got):")
    seconds: Counter[str] = Counter()
    for name, start, end in tally.spans:
        seconds[name] += round(1000 * (end - start))
    spent = seconds.total() or 1
    for name, strikes in sorted(tally.strikes.items()):
        mostly = ", ".join(f"{number} × {outcome}" for outcome, number in tally.outcomes[name].most_common(3))
        lines.append(f"  {name:24} {strikes:6} {100 * seconds[name] / spent:4.0f} %  {mostly}")
    return lines


def _attested(attempts: list[Attempt]) -> str:
    if len(attempts) < 2:
        return f"{len(attempts)} honest attestations"
    found = sorted(attempt.seconds for attempt in attempts)
    cuts = statistics.quantiles(found, n=100)
    failed = sum(1 for attempt in attempts if attempt.fault)
    return (
        f"{len(found)} honest attestations, {failed} failed: median {cuts[49]:.3f} s, 90 % {cuts[89]:.3f} s, "
        f"99 % {cuts[98]:.3f} s, slowest {found[-1]:.3f} s"
    )


def _slowest(attempts: list[Attempt]) -> list[Attempt]:
    return sorted(attempts, key=lambda attempt: -attempt.seconds)[:SHOWN]


def _shown(attempt: Attempt, tally: Tally) -> str:
    steps = ", ".join(f"{step} {seconds:.3f}" for step, seconds in attempt.steps.items())
    end = attempt.started + attempt.seconds
    meanwhile = Counter(name for name, start, until in tally.spans if start < end and until > attempt.started)
    attacks = ", ".join(f"{number} {name}" for name, number in meanwhile.most_common())
    return (
        f"{attempt.seconds:.3f} s ({steps}; machine late by {attempt.kept_waiting:.3f}) {attempt.fault}\n"
        f"      meanwhile: {attacks}"
    )


def _written(writes: list[Write]) -> str:
    failed = [write.fault for write in writes if write.fault]
    slowest = max((write.seconds for write in writes), default=0.0)
    again = sum(write.again for write in writes)
    return (
        f"{len(writes)} honest updates, {len(failed)} failed, {again} times asked to come again, "
        f"slowest {slowest:.3f} s {failed[0] if failed else ''}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--memory", type=float, default=MEMORY, help="how many MB the CAS may take")
    parser.add_argument("--slowest", type=float, default=SLOWEST, help="how long an honest attestation may take")
    names = [strike.__name__ for _, strike in ATTACKS]
    parser.add_argument("--only", nargs="+", default=(), choices=names, metavar="ATTACK", help=", ".join(names))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    lines, missed = campaign(
        options.seconds, options.clients, options.seed, (options.slowest, options.memory), options.only
    )
    print("\n".join(lines))
    for requirement in missed:
        print(f"MISSED: {requirement}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
