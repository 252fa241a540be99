"""Start time and memory: of an idle broker, of idle connections, of a deep backlog."""

import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench import delays, load, procfs, wire
from bench.peers import Peer

CONNECTIONS = 1000
BACKLOG = 1_000_000
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one broker takes; None was not measured."""

    start_s: float | None = None
    idle_mib: float | None = None
    connections_mib: float | None = None  # more than idle
    backlog_mib: float | None = None
    backlog_peak_mib: float | None = None
    delays_mib: float | None = None
    delays_s: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """For the raw results."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FootprintTarget:
    """One line of the table: a field of Footprint, its unit and Mansio's limit."""

    field: str
    title: str
    unit: str
    most: float | None


FOOTPRINT_TARGETS = (
    FootprintTarget("start_s", "start: exec to the first answer to a protocol header", "s", 0.5),
    FootprintTarget("idle_mib", "idle RSS", "MiB", 45.0),
    FootprintTarget(
        "connections_mib", f"{CONNECTIONS:,} idle connections with a channel each: more RSS",
        "MiB", 60.0,
    ),
    FootprintTarget(
        "backlog_mib", f"{BACKLOG:,} queued transient messages of 256 B: RSS", "MiB", 500.0
    ),
    FootprintTarget("backlog_peak_mib", "the same: peak RSS", "MiB", None),
    FootprintTarget(
        "delays_mib", f"{delays.COUNT:,} delayed persistent messages of 100 B, each with another "
        "delay: RSS", "MiB", 150.0,
    ),
    FootprintTarget(
        "delays_s", "the same, all due within a second: until the last one is delivered", "s", 10.0
    ),
)  # fmt: skip


def settled_rss_mib(pids: Sequence[int], seconds: float = SETTLE_S) -> float:
    """Resident memory after a moment without load."""
    time.sleep(seconds)
    return procfs.rss_mib(list(pids))


def connections_mib(peer: Peer, count: int = CONNECTIONS) -> float:
    """Memory that `count` idle connections add, in MiB. Errors: OSError."""
    before = settled_rss_mib(peer.pids())
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(wire.connect(peer.port))
        return settled_rss_mib(peer.pids()) - before
    finally:
        for sock in opened:
            sock.close()


def backlog_mib(peer: Peer, count: int = BACKLOG) -> tuple[float, float]:
    """Resident and peak memory with `count` queued messages, in MiB. Errors: LoadError."""
    queue = ("--prefix", "backlog")
    result = load.run(
        peer.port, peer.pids(), ("--consumers", "0", "--count", str(count), "--purge", *queue)
    )
    resident = settled_rss_mib(peer.pids())
    peak = procfs.peak_rss_mib(peer.pids())
    drained = load.run(
        peer.port,
        peer.pids(),
        ("--publishers", "0", "--count", str(count), "--autoack", "--delete", *queue),
    )
    if not result["ok"] or not drained["ok"]:
        raise load.LoadError(f"{peer.name} did not give back what was queued: {drained}")
    return resident, peak


def measure_delays(peer_class: type[Peer]) -> Footprint:
    """Delayed messages alone. Errors: PeerError, LoadError, OSError."""
    with peer_class() as peer:
        resident, seconds = delays.measure(peer)
    return Footprint(delays_mib=resident, delays_s=seconds)


def measure(peer_class: type[Peer], starts: int) -> Footprint:
    """Everything about one kind of peer, on processes of its own. Errors: PeerError, LoadError."""
    times = []
    for _ in range(starts - 1):
        with peer_class() as peer:
            times.append(peer.start_s)
    with peer_class() as peer:
        times.append(peer.start_s)
        idle = settled_rss_mib(peer.pids())
        more = connections_mib(peer)
    with peer_class() as peer:
        times.append(peer.start_s)
        resident, peak = backlog_mib(peer)
    times.sort()
    return Footprint(times[len(times) // 2], idle, more, resident, peak)
