"""Values of metrics that take more than a look at one attribute. See metrics.py, which has the table of them."""

import sys
from collections.abc import Callable, Mapping
from itertools import accumulate
from math import inf
from typing import NamedTuple

from mansio.core.limits import NS
from mansio.protocol.resp.clients import clients_of
from mansio.protocol.zmtp.peers import peers_of
from mansio.server.appends import BOUNDS_S
from mansio.server.census import Census
from mansio.server.tls_porter import Porter
from mansio.server.turn import Turn


class Distribution(NamedTuple):
    """A histogram: (upper bound in seconds, how many were at most that long), with the sum of all."""

    buckets: list[tuple[float, int]]
    sum_s: float


Value = float | Mapping[str, float] | Distribution | None
"""Of one metric: a number, numbers by the value of its label, or None when it is not known."""


def connections(turn: Turn) -> dict[str, float]:
    """Open ones, by what they speak."""
    redis = clients_of(turn.broker).sessions
    zmq = peers_of(turn.broker).sessions
    return {"amqp": len(turn.broker.sessions) - redis - zmq, "redis": redis, "zmq": zmq}


def memory_used(turn: Turn) -> int:
    """Bytes that messages hold, with what they cost beside."""
    broker = turn.broker
    return broker.memory_bytes + broker.settling.runs * broker.limits.run_bytes


def blocked(turn: Turn) -> dict[str, float]:
    """Whether publishers are, by reason."""
    return {"memory": turn.broker.low_on_memory, "disk": turn.broker.low_on_disk}


def free_bytes(turn: Turn) -> float | None:
    """Not known of a log in memory, which has no bound of its own."""
    space = turn.space
    return None if space is None or space.free_bytes == sys.maxsize else space.free_bytes


def garbage_bytes(turn: Turn) -> int:
    """What lies in the log beside live messages."""
    retention = turn.broker.journal.retention
    return retention.total_bytes - retention.live_bytes


def append_seconds(turn: Turn) -> Distribution:
    """How long appends took."""
    appends = turn.appends
    counts = accumulate(appends.took_counts)
    return Distribution(list(zip((*BOUNDS_S, inf), counts, strict=True)), appends.sum_ns / NS)


def of_porter(read: Callable[[Porter], float | None]) -> Callable[[Turn, Census], Value]:
    """Not known without TLS."""
    return lambda turn, _: None if turn.porter is None else read(turn.porter)
