"""What the torture declares, publishes to and expects: names of queues, exchanges and bindings.

*Steady* queues are declared once, with their exchanges and bindings, and stay; most of the load goes through them.
*Loose* is a steady queue that is purged and consumed without acknowledgements while others publish to it, so nothing in
it is owed to anyone. *Churn* queues come and go with their exchanges and bindings, by the hand of one client, which
therefore knows at each moment what there is and what is in them.

Streams and groups are queues, too, steady ones and churn. Nobody sends to a group, and who sends to a stream sends to
its groups. Steady streams are deleted and declared again, with their groups, behind some drains.

A set of queues is written as an int, one bit for each place in `QUEUES`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from mansio.codec.amqp_values import Table

STEADY = tuple(f"t.q{i}" for i in range(6))
LOOSE = "t.loose"
MARKS = "t.marks"
"""Takes the messages whose confirm proves that what was sent before them is durable."""
CHURN = tuple(f"c.q{i}" for i in range(6))
STEADY_QUEUES = (*STEADY, LOOSE, MARKS)


class Stream(NamedTuple):
    """What a stream keeps. `bytes_max`: of all its entries, 0 for no end; `segment_bytes`: of what goes at once.

    `depth_max`: publishers leave it alone that has about so many entries, 0 for never.
    """

    bytes_max: int = 0
    segment_bytes: int = 0
    depth_max: int = 0
    numbered: bool = False

    @property
    def arguments(self) -> Table:
        """Of its declaration."""
        asked: Table = {"x-queue-type": "stream"}
        if self.bytes_max:
            asked["x-max-length-bytes"] = self.bytes_max
            asked["x-stream-max-segment-size-bytes"] = self.segment_bytes
        if self.numbered:
            asked["x-message-deduplication"] = True
        return asked


class Group(NamedTuple):
    """A consumer group. `more`: arguments of its declaration beside its stream and its offset."""

    stream: str
    more: Table = {}

    def arguments(self, begin: int | str) -> Table:
        """Of its declaration, to begin there."""
        return {"x-stream": self.stream, "x-stream-offset": begin, **self.more}

    @property
    def protected(self) -> bool:
        """Retention waits for it."""
        return "x-stream-protected" in self.more

    @property
    def partitioned(self) -> bool:
        """One member at a time is active."""
        return "x-stream-group" in self.more


LOG, READINGS, MEASURES = "s.log", "s.readings", "s.measures"
CHURN_STREAM = "c.s0"
PARTITIONS = ("p.0", "p.1", "p.2")
STREAMS = {
    LOG: Stream(depth_max=5000),
    READINGS: Stream(1 << 20, 128 << 10),
    MEASURES: Stream(1 << 20, 64 << 10, numbered=True),
    **{name: Stream(depth_max=1500) for name in PARTITIONS},
}
"""Steady streams: one that keeps all, two with retention, one of which knows numbered producers, and partitions."""
ALL_STREAMS = {**STREAMS, CHURN_STREAM: Stream()}
WORKERS = ("w.0", "w.1", "w.2")
GROUPS = {
    "g.log": Group(LOG),
    "g.single": Group(LOG, {"x-single-active-consumer": True}),
    "g.readings": Group(READINGS),
    "g.measures": Group(MEASURES, {"x-stream-protected": True}),
    **{
        name: Group(stream, {"x-stream-group": "workers"})
        for name, stream in zip(WORKERS, PARTITIONS, strict=True)
    },
}
"""Steady groups: all begin with the first entry."""
SHARED_GROUPS = tuple(name for name in GROUPS if name not in WORKERS)
CHURN_GROUPS = {
    "c.g0": Group(CHURN_STREAM),
    "c.g1": Group(LOG),
    "c.g2": Group(MEASURES, {"x-queue-type": "quorum", "x-delivery-limit": -1}),
}
ALL_GROUPS = {**GROUPS, **CHURN_GROUPS}

QUEUES = (*STEADY_QUEUES, *CHURN, *ALL_STREAMS, *ALL_GROUPS)
INDEX = {name: i for i, name in enumerate(QUEUES)}

EXCHANGES = {
    "t.direct": "direct",
    "t.fanout": "fanout",
    "t.topic": "topic",
    "s.fanout": "fanout",
    "p.hash": "x-consistent-hash",
}
BINDINGS = (
    *(("t.direct", queue, queue) for queue in STEADY),
    *(("t.fanout", queue, "") for queue in STEADY[:3]),
    ("t.topic", STEADY[3], "a.#"),
    ("t.topic", STEADY[4], "*.b"),
    ("t.topic", STEADY[5], "a.*.c"),
    *(("s.fanout", name, "") for name in (LOG, READINGS, STEADY[0])),
    *(("p.hash", name, "1") for name in PARTITIONS),
)
"""Steady bindings: (exchange, queue, routing key)."""
BOUND = (*CHURN, CHURN_STREAM)
"""What churn bindings lead to."""
CHURN_EXCHANGES = {"c.x0": "direct", "c.x1": "topic", "c.x2": "direct"}


def mask(*queues: str) -> int:
    """The set of these queues."""
    return sum(1 << INDEX[queue] for queue in queues)


@cache
def names(queues: int) -> tuple[str, ...]:
    """The queues in a set."""
    return tuple(name for i, name in enumerate(QUEUES) if queues >> i & 1)


ROUTES = (
    *(("", queue, mask(queue)) for queue in STEADY),
    *(("t.direct", queue, mask(queue)) for queue in STEADY),
    ("t.fanout", "", mask(*STEADY[:3])),
    ("t.topic", "a.b", mask(STEADY[3], STEADY[4])),
    ("t.topic", "a.x.c", mask(STEADY[3], STEADY[5])),
    ("t.topic", "x.b", mask(STEADY[4])),
    ("t.topic", "x", 0),
    ("", LOOSE, mask(LOOSE)),
)
"""Where publishers send: (exchange, routing key, set of queues that get it)."""
STREAM_ROUTES = (
    *(("", LOG, mask(LOG)) for _ in range(2)),
    *(("", READINGS, mask(READINGS)) for _ in range(3)),
    ("", MEASURES, mask(MEASURES)),
    ("s.fanout", "", mask(LOG, READINGS, STEADY[0])),
)
"""Those to streams, but for partitions."""
PARTITION_KEYS = tuple(f"customer {i}" for i in range(6))
"""Routing keys of what goes to one of the partitions: to which one is found out before the load begins."""


def queue_entity(queue: str) -> str:
    """What the oracle calls a queue."""
    return f"queue {queue}"


def exchange_entity(exchange: str) -> str:
    """What the oracle calls an exchange."""
    return f"exchange {exchange}"


def binding_entity(exchange: str, queue: str) -> str:
    """What the oracle calls the binding of a churn queue, whose key is its name."""
    return f"binding {exchange} to {queue}"
