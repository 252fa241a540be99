"""What the torture declares, publishes to and expects: names of queues, exchanges and bindings.

*Steady* queues are declared once, with their exchanges and bindings, and stay; most of the load goes through them.
*Loose* is a steady queue that is purged and consumed without acknowledgements while others publish to it, so nothing in
it is owed to anyone. *Churn* queues come and go with their exchanges and bindings, by the hand of one client, which
therefore knows at each moment what there is and what is in them.

A set of queues is written as an int, one bit for each place in `QUEUES`.
"""

from __future__ import annotations

from collections.abc import Iterator

STEADY = tuple(f"t.q{i}" for i in range(6))
LOOSE = "t.loose"
MARKS = "t.marks"
"""Takes the messages whose confirm proves that what was sent before them is durable."""
CHURN = tuple(f"c.q{i}" for i in range(6))
QUEUES = (*STEADY, LOOSE, MARKS, *CHURN)
INDEX = {name: i for i, name in enumerate(QUEUES)}
STEADY_QUEUES = (*STEADY, LOOSE, MARKS)

EXCHANGES = {"t.direct": "direct", "t.fanout": "fanout", "t.topic": "topic"}
BINDINGS = (
    *(("t.direct", queue, queue) for queue in STEADY),
    *(("t.fanout", queue, "") for queue in STEADY[:3]),
    ("t.topic", STEADY[3], "a.#"),
    ("t.topic", STEADY[4], "*.b"),
    ("t.topic", STEADY[5], "a.*.c"),
)
"""Steady bindings: (exchange, queue, routing key)."""
CHURN_EXCHANGES = {"c.x0": "direct", "c.x1": "topic", "c.x2": "direct"}


def mask(*queues: str) -> int:
    """The set of these queues."""
    return sum(1 << INDEX[queue] for queue in queues)


def names(queues: int) -> Iterator[str]:
    """The queues in a set."""
    return (name for i, name in enumerate(QUEUES) if queues >> i & 1)


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


def queue_entity(queue: str) -> str:
    """What the oracle calls a queue."""
    return f"queue {queue}"


def exchange_entity(exchange: str) -> str:
    """What the oracle calls an exchange."""
    return f"exchange {exchange}"


def binding_entity(exchange: str, queue: str) -> str:
    """What the oracle calls the binding of a churn queue, whose key is its name."""
    return f"binding {exchange} to {queue}"
