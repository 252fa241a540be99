"""Who takes part in a scenario: a peer with what its clients ask of it, or the bare disk."""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import disk, load, syncs
from bench.peers import Peer
from bench.procfs import yield_to_others
from bench.scenarios import Scenario

FLOOD_LEAD_S = 0.5  # the load beside is under way for so long before the measurement begins


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of a comparison."""

    name: str
    title: str
    kind: str  # mansio, rabbitmq, nats or disk: what --peer chooses by
    peer: str  # the name of its broker; empty for the disk
    asks: tuple[str, ...] = ()  # the load generator's arguments, beside the scenario's
    program: Path = load.PROGRAM


def _rabbitmq(name: str, title: str, *asks: str) -> Contender:
    return Contender(name, title, "rabbitmq", "rabbitmq", asks)


EVERY = (
    Contender("mansio", "Mansio", "mansio", "mansio"),
    Contender("mansio-pure", "Mansio, codec in plain Python", "mansio", "mansio-pure"),
    _rabbitmq("rabbitmq", "RabbitMQ"),
    _rabbitmq("rabbitmq-v1", "RabbitMQ classic, version 1", "--qarg", "x-queue-version:=1"),
    _rabbitmq("rabbitmq-v2", "RabbitMQ classic, version 2", "--qarg", "x-queue-version:=2"),
    _rabbitmq("rabbitmq-quorum", "RabbitMQ quorum, one node", "--qarg", "x-queue-type=quorum"),
    _rabbitmq("rabbitmq-stream", "RabbitMQ stream", "--qarg", "x-queue-type=stream"),
    Contender("nats", "NATS JetStream", "nats", "nats", program=load.NATS_PROGRAM),
    *(
        Contender(name, f"the disk: 4 KiB, {title}", "disk", "")
        for name, (title, *_) in disk.WAYS.items()
    ),
)
CONTENDERS: Mapping[str, Contender] = {one.name: one for one in EVERY}


def command(one: Contender, peer: Peer, scenario: Scenario, *what: str) -> list[str]:
    """The generator's command line for a load on the queues of a scenario."""
    asks = (*one.asks, *(scenario.ours if one.kind == "mansio" else ()))
    names = ("--prefix", f"{scenario.name}-{one.name}", "--verify")
    return load.command(peer.port, peer.pids(), (*what, *asks, *names), one.program)


def _line(one: Contender, peer: Peer, scenario: Scenario, seconds: float) -> list[str]:
    ends = (*(("--purge",) if scenario.purges else ()), "--delete")
    span = ("--duration", f"{seconds:g}")
    return command(one, peer, scenario, *scenario.load, *span, *ends)


def run(one: Contender, peer: Peer | None, scenario: Scenario, seconds: float) -> load.Result:
    """One run of one scenario; without a peer, one of the disk. Errors: LoadError, OSError."""
    if scenario.settles:
        disk.settle()
    if peer is None:
        return disk.probe(one.name, seconds)
    if scenario.before:
        expect_ok(load.result_of(command(one, peer, scenario, *scenario.before)))
    line = _line(one, peer, scenario, seconds)
    return _beside(peer, scenario, seconds, line) if scenario.beside else load.result_of(line)


def _beside(peer: Peer, scenario: Scenario, seconds: float, line: list[str]) -> load.Result:
    """The result of `line` while another generator is at work; `beside_per_s` is its rate."""
    names = ("--prefix", "beside", "--purge", "--delete")
    span = ("--duration", f"{seconds + 2 * FLOOD_LEAD_S:g}")
    flood = load.command(peer.port, (), (*scenario.beside, *span, *names))
    process = subprocess.Popen(flood, stdout=subprocess.PIPE, text=True, preexec_fn=yield_to_others)
    try:
        time.sleep(FLOOD_LEAD_S)
        result = load.result_of(line)
        text, _ = process.communicate(timeout=load.RUN_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise load.LoadError(f"no end: {' '.join(flood)}") from None
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise load.LoadError(f"the load beside failed: {text.strip()} ({' '.join(flood)})")
    # Nobody can tell the two loads' shares of the broker, and the other load is no disturbance.
    rate = json.loads(text)["con_per_s"]
    return result | {"beside_per_s": rate, "broker_cpu_us_per_msg": 0.0, "other_cpu_s": 0.0}


def expect_ok(result: load.Result) -> None:
    """Errors: LoadError when the checks of a run that is not measured failed."""
    if not result["ok"]:
        raise load.LoadError(f"the checks failed: {result}")


def durable_writes(one: Contender, peer: Peer, scenario: Scenario, seconds: float) -> float:
    """Durable writes per million messages, in a run of their own. Errors: LoadError."""
    disk.settle()
    rate, result = syncs.per_million(peer.pids(), _line(one, peer, scenario, seconds))
    expect_ok(result)
    return rate
