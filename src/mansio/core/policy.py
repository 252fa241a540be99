"""A policy, and those of one virtual host: which of them match a queue or an exchange.

Of those that match by name and kind, the one of the highest priority counts, alone; among equals the first by name,
where RabbitMQ leaves it to chance. Operator policies are chosen in the same way, and count beside the other.

The pattern is searched for in the name, not matched from its begin. It is looked at when a queue or an exchange is
declared and when a policy changes, never for a message.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from mansio.core.field_values import Arguments
from mansio.core.names import DEFAULT_EXCHANGE, REPLY_TO
from mansio.core.patterns import ALL, Pattern
from mansio.core.policy_keys import Definition, ask, foreign_keys, merge
from mansio.core.queue import Queue
from mansio.core.routing import Exchange

EXCHANGES: Final = "exchanges"
_QUEUES: Final = {
    "all": ("classic", "quorum", "stream"),
    "queues": ("classic", "quorum", "stream"),
    "classic_queues": ("classic",),
    "quorum_queues": ("quorum",),
    "streams": ("stream",),
    EXCHANGES: (),
}
"""Types of queues that a policy is for. RabbitMQ has those for one type since 3.12."""
APPLY_TO: Final = ("queues", "classic_queues", "quorum_queues", "streams", EXCHANGES, "all")


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for queues and exchanges whose names have `pattern`, a regular expression, in them."""

    name: str
    pattern: str
    apply_to: str
    priority: int
    definition: dict[str, Any]
    expression: Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """BadValue for a pattern that is no regular expression."""
        object.__setattr__(self, "expression", Pattern(self.pattern or ALL))

    def matches_queue(self, name: str, arguments: Arguments, foreign: frozenset[str]) -> bool:
        """`foreign`: keys that the queue does not have."""
        if arguments.get("x-queue-type", "classic") not in _QUEUES[self.apply_to]:
            return False
        return foreign.isdisjoint(self.definition) and self.expression.is_in(name)

    def matches_exchange(self, name: str) -> bool:
        """Whether it holds for an exchange of this name."""
        if self.apply_to not in (EXCHANGES, "all") or name == DEFAULT_EXCHANGE:
            return False
        return self.expression.is_in(name)


Found = tuple[Policy | None, Policy | None]
"""The policy and the operator policy that hold."""


class PolicySet:
    """The policies and operator policies of one virtual host, by name."""

    __slots__ = ("_ranked", "operator", "own")

    def __init__(self) -> None:
        self.own: dict[str, Policy] = {}
        self.operator: dict[str, Policy] = {}
        self._ranked: tuple[list[Policy], list[Policy]] = ([], [])

    def of_kind(self, operator: bool) -> dict[str, Policy]:
        """Policies or operator policies."""
        return self.operator if operator else self.own

    def put(self, policy: Policy, operator: bool) -> None:
        """One more, or another one of a name."""
        self.of_kind(operator)[policy.name] = policy
        self._rank()

    def remove(self, name: str, operator: bool) -> Policy | None:
        """Takes one away; None if there is none of this name."""
        gone = self.of_kind(operator).pop(name, None)
        self._rank()
        return gone

    def _rank(self) -> None:
        self._ranked = (_ranked(self.own.values()), _ranked(self.operator.values()))

    def of_queue(self, queue: Queue) -> Found:
        """What holds for a queue; nothing for one that only the broker itself knows."""
        if not (self.own or self.operator) or queue.hidden or queue.name.startswith(REPLY_TO):
            return None, None
        name, arguments = queue.name, queue.arguments
        foreign = foreign_keys(arguments)
        own, operator = (
            next((each for each in ranked if each.matches_queue(name, arguments, foreign)), None)
            for ranked in self._ranked
        )
        return own, operator

    def of_exchange(self, exchange: Exchange) -> Found:
        """What holds for an exchange."""
        own, operator = (
            next((each for each in ranked if each.matches_exchange(exchange.name)), None)
            for ranked in self._ranked
        )
        return own, operator

    def asked(self, queue: Queue) -> Arguments:
        """What a queue has to do by its arguments and by what holds for it: the former as they are if nothing does."""
        own, operator = self.of_queue(queue)
        if own is None and operator is None:
            return queue.arguments
        return ask(queue.arguments, definition_of((own, operator)))

    def alternate(self, exchange: Exchange) -> str | None:
        """The alternate exchange by its argument, which counts more, or by what holds for it."""
        key = "alternate-exchange"
        found: str | None = exchange.arguments.get(key)
        return definition_of(self.of_exchange(exchange)).get(key) if found is None else found


def definition_of(found: Found) -> Definition:
    """What these say together."""
    own, operator = (None if policy is None else policy.definition for policy in found)
    return merge(own, operator)


def _ranked(policies: Iterable[Policy]) -> list[Policy]:
    return sorted(policies, key=lambda each: (-each.priority, each.name))
