"""Policies as the oracle knows them: which of them hold for a queue or an exchange, and what is asked of it then."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mansio.codec.amqp_values import Table

CLASSIC, QUORUM, STREAM = "classic", "quorum", "stream"
TYPES = {
    "all": (CLASSIC, QUORUM, STREAM),
    "queues": (CLASSIC, QUORUM, STREAM),
    "classic_queues": (CLASSIC,),
    "quorum_queues": (QUORUM,),
    "streams": (STREAM,),
    "exchanges": (),
}
NOT_FOR = {
    CLASSIC: "max-age stream-max-segment-size-bytes delivery-limit queue-leader-locator",
    QUORUM: "max-age stream-max-segment-size-bytes queue-mode ha-mode",
    STREAM: "expires message-ttl dead-letter-exchange dead-letter-routing-key max-length max-priority overflow "
    "queue-mode delivery-limit ha-mode",
}
NOT_FED = "max-length max-length-bytes max-priority message-ttl overflow"
LOWER = "message-ttl expires max-length max-length-bytes"
"""Of two the lower one counts."""


@dataclass(slots=True)
class Policy:
    """What holds for names in which its pattern is found."""

    name: str
    pattern: str
    apply_to: str
    priority: int
    definition: dict[str, Any]


def _kind(arguments: Table) -> str:
    return str(arguments.get("x-queue-type", CLASSIC))


@dataclass(slots=True)
class PolicySet:
    """By name."""

    own: dict[str, Policy] = field(default_factory=dict)
    operator: dict[str, Policy] = field(default_factory=dict)

    def change(self, change: dict[str, Any]) -> None:
        """What a record of the log says."""
        known = self.operator if change["operator"] else self.own
        known.pop(change["name"], None)
        if change["do"] == "put policy":
            known[change["name"]] = Policy(
                change["name"],
                change["pattern"],
                change["apply_to"],
                change["priority"],
                change["definition"],
            )

    def asked(self, name: str, arguments: Table) -> Table:
        """What a queue with these arguments has to do."""
        if name.startswith("amq.rabbitmq.reply-to"):
            return arguments
        own = _first(each for each in self.own.values() if _holds(each, name, arguments))
        operator = _first(each for each in self.operator.values() if _holds(each, name, arguments))
        asked = dict(arguments)
        for key in {**own, **operator}:
            both = [found[key] for found in (own, operator) if key in found]
            asked[f"x-{key}"] = _together(key, both, arguments)
        return asked

    def alternate(self, name: str, arguments: Table) -> Any:
        """The alternate exchange of an exchange."""
        key = "alternate-exchange"
        policies = [each for each in self.own.values() if each.apply_to in ("all", "exchanges")]
        found = _first(each for each in policies if name and re.search(each.pattern, name))
        return arguments.get(key, found.get(key))


def _holds(policy: Policy, name: str, arguments: Table) -> bool:
    kind = _kind(arguments)
    foreign = NOT_FOR[kind].split() + (NOT_FED.split() if "x-stream" in arguments else [])
    if kind not in TYPES[policy.apply_to] or not set(foreign).isdisjoint(policy.definition):
        return False
    return re.search(policy.pattern, name) is not None


def _first(policies: Iterable[Policy]) -> dict[str, Any]:
    """The definition that counts of those that match."""
    found = sorted(policies, key=lambda each: (-each.priority, each.name))
    return found[0].definition if found else {}


def _together(key: str, both: list[Any], arguments: Table) -> Any:
    """`both`: what a policy and an operator policy say, or one of them."""
    kind, argument = _kind(arguments), arguments.get(f"x-{key}")
    if kind == STREAM and key in ("max-length-bytes", "max-age", "stream-max-segment-size-bytes"):
        argument = None
    if kind == QUORUM and key in ("overflow", "expires"):
        argument = None
    found = both + ([] if argument is None else [argument])
    if key in LOWER.split() and kind != STREAM:
        return min(found)
    if key == "max-length-bytes":
        return min(both)
    if key == "delivery-limit":
        return min((each for each in found if each >= 0), default=-1)
    if key == "consumer-timeout":
        return min((each for each in found if each), default=0)
    return found[-1]


# -- what operators ask for

VALUES: dict[str, tuple[Any, ...]] = {
    "message-ttl": (0, 1, 20, 300, 5000, 60_000),
    "expires": (50, 2000, 60_000),
    "max-length": (0, 1, 3, 10),
    "max-length-bytes": (0, 8, 50, 500),
    "overflow": ("reject-publish", "reject-publish-dlx", "drop-head"),
    "dead-letter-exchange": ("", "", "x0", "x1", "amq.fanout", "nowhere"),
    "dead-letter-routing-key": ("q0", "q1", "q2", "a"),
    "delivery-limit": (-1, 0, 1, 2, 10),
    "consumer-timeout": (0, 20, 200, 2000),
    "max-priority": (0, 1, 2, 10, 10),
    "max-age": ("1s", "30s", "5m"),
    "stream-max-segment-size-bytes": (0, 100, 2000),
    "alternate-exchange": ("x0", "x1", "x2", "nowhere"),
    "ha-mode": ("all",),
    "queue-mode": ("lazy",),
    "queue-leader-locator": ("balanced",),
}
TOGETHER = (
    ("message-ttl",),
    ("message-ttl", "dead-letter-exchange", "dead-letter-routing-key"),
    ("max-length", "overflow"),
    ("max-length", "dead-letter-exchange"),
    ("max-length-bytes",),
    ("max-length-bytes", "overflow"),
    ("max-length",),
    ("dead-letter-exchange",),
    ("dead-letter-exchange", "dead-letter-routing-key"),
    ("max-priority",),
    ("max-priority",),
    ("max-priority", "max-length"),
    ("delivery-limit",),
    ("delivery-limit", "dead-letter-exchange", "message-ttl"),
    ("expires",),
    ("consumer-timeout",),
    ("max-age",),
    ("max-length-bytes", "max-age", "stream-max-segment-size-bytes"),
    ("alternate-exchange",),
    ("alternate-exchange",),
    ("alternate-exchange", "message-ttl"),
    ("ha-mode", "message-ttl"),
    ("queue-mode", "max-priority"),
    ("queue-leader-locator", "max-length"),
)
OPERATORS = (
    ("message-ttl",),
    ("max-length",),
    ("max-length-bytes",),
    ("expires",),
    ("delivery-limit",),
    ("overflow",),
    ("consumer-timeout",),
    ("max-length", "message-ttl"),
)
PATTERNS = ("", "", "^q", "^q", "^q[01]$", "q2", "^x", "^x", "amq", "^s", "^g", "gen", "mansio")


def draw_change(rng: Random, known: PolicySet) -> dict[str, Any]:
    """What an operator does next, as a record would say it."""
    operator = rng.random() < 0.25
    names = list(known.operator if operator else known.own)
    if names and rng.random() < 0.4:
        return {"do": "delete policy", "operator": operator, "name": rng.choice(names)}
    keys = rng.choice(OPERATORS if operator else TOGETHER)
    return {
        "do": "put policy",
        "operator": operator,
        "name": rng.choice(("a", "b", "c")),
        "pattern": rng.choice(PATTERNS),
        "apply_to": rng.choice(("all", "all", "queues", *TYPES)),
        "priority": rng.choice((-1, 0, 0, 1, 5)),
        "definition": {key: rng.choice(VALUES[key]) for key in keys},
    }
