"""What policies may say: their keys and values, which queues have them, and whose value counts (RabbitMQ 3.10.8).

    operator policy ─┐ the lower limit
    policy ──────────┴─► definition ─┐ by key and type of queue: the lower, the argument, or the policy
    arguments of the queue ──────────┴─► asked

A policy with a key that queues of a type do not have does not match queues of that type at all.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from mansio.core.field_values import Arguments
from mansio.core.group import SOURCE
from mansio.core.stream_arguments import SEGMENT_BYTES_MAX, duration_ms

Definition = Mapping[str, Any]
"""Values as JSON has them, by key."""
Fits = Callable[[Any], bool]
Resolve = Callable[[Any, Any], Any]

TEXT_BYTES_MAX: Final = 255
"""Of names and routing keys: they stand in short strings on the wire (specification 1.4.2.7)."""


def _whole(least: int, most: int = 1 << 62) -> Fits:
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    )


def _one_of(*allowed: Any) -> Fits:
    return lambda value: not isinstance(value, bool) and value in allowed


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value.encode("utf-8", "replace")) <= TEXT_BYTES_MAX


_VALUES: Final[dict[str, tuple[Fits, str]]] = {
    "alternate-exchange": (_is_text, "alternate exchange name"),
    "consumer-timeout": (_whole(0), "consumer timeout"),
    "dead-letter-exchange": (_is_text, "dead letter exchange name"),
    "dead-letter-routing-key": (_is_text, "dead letter routing key"),
    "dead-letter-strategy": (_one_of("at-most-once", "at-least-once"), "dead letter strategy"),
    "delivery-limit": (_whole(-1), "delivery limit"),
    "expires": (_whole(1), "queue expiry"),
    "initial-cluster-size": (_whole(0), "cluster size"),
    "max-age": (lambda value: bool(duration_ms(value)), "max age"),
    "max-in-memory-bytes": (_whole(0), "maximum memory in bytes"),
    "max-in-memory-length": (_whole(0), "maximum memory in bytes"),
    "max-length": (_whole(0), "maximum length"),
    "max-length-bytes": (_whole(0), "maximum length in bytes"),
    "max-priority": (_whole(0, 255), "maximum priority"),
    "message-ttl": (_whole(0), "message TTL"),
    "overflow": (_one_of("drop-head", "reject-publish", "reject-publish-dlx"), "overflow value"),
    "queue-leader-locator": (
        _one_of("client-local", "balanced", "random", "least-leaders"),
        "queue leader locator value",
    ),
    "queue-mode": (_one_of("default", "lazy"), "queue-mode value"),
    "queue-version": (_one_of(1, 2), "queue-version value"),
    "stream-max-segment-size-bytes": (_whole(0, SEGMENT_BYTES_MAX), "segment size"),
}
"""The values that fit, and what a value is not that does not."""

WITHOUT_EFFECT: Final = frozenset((
    "federation-upstream", "federation-upstream-pattern", "federation-upstream-set", "ha-mode", "ha-params",
    "ha-promote-on-failure", "ha-promote-on-shutdown", "ha-sync-batch-size", "ha-sync-mode", "queue-master-locator",
    "routing-key", "shards-per-node", "stream-filter-size-bytes", "target-group-size",
))  # fmt: skip
"""Of RabbitMQ and its plugins, about clusters and features that there are not here: accepted with any value."""

OPERATORS: Final = frozenset((
    "consumer-timeout", "delivery-limit", "expires", "max-in-memory-bytes", "max-in-memory-length", "max-length",
    "max-length-bytes", "message-ttl", "overflow",
))  # fmt: skip
"""What operator policies may say. RabbitMQ has `overflow` since 3.12, and no `consumer-timeout`."""

_MIRRORS: Final = frozenset((
    "ha-mode", "ha-params", "ha-promote-on-failure", "ha-promote-on-shutdown", "ha-sync-mode", "queue-master-locator",
))  # fmt: skip
_STREAMS: Final = frozenset(("initial-cluster-size", "max-age", "stream-max-segment-size-bytes"))
FOREIGN: Final[dict[str, frozenset[str]]] = {
    "classic": _STREAMS | {"dead-letter-strategy", "delivery-limit", "queue-leader-locator"},
    "quorum": _MIRRORS | _STREAMS | {"queue-mode"},
    "stream": _MIRRORS | {
        "dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy", "delivery-limit", "expires",
        "max-in-memory-bytes", "max-in-memory-length", "max-length", "max-priority", "message-ttl", "overflow",
        "queue-mode",
    },
}  # fmt: skip
"""What queues of each type do not have."""
FED: Final = frozenset(
    ("max-length", "max-length-bytes", "max-priority", "message-ttl", "overflow")
)
"""What consumer groups of streams do not have, beside what others of their type have not."""


def foreign_keys(arguments: Arguments) -> frozenset[str]:
    """Keys that a queue with these arguments does not have."""
    keys = FOREIGN[arguments.get("x-queue-type", "classic")]
    return keys | FED if SOURCE in arguments else keys


# -- whose value counts


def _policy(policy: Any, argument: Any) -> Any:
    return policy


def _argument(policy: Any, argument: Any) -> Any:
    return argument


def _lower(policy: Any, argument: Any) -> Any:
    return min(policy, argument)


def _shorter(policy: int, argument: int) -> int:
    """Of two timeouts; 0 is none."""
    return min(policy, argument) if policy and argument else policy or argument


def _stricter(policy: int, argument: Any) -> int:
    """Of two limits of deliveries; below 0 is none (RabbitMQ 4)."""
    if not isinstance(argument, int):
        return policy
    return max(policy, argument) if policy < 0 or argument < 0 else min(policy, argument)


_MERGE: Final[dict[str, Resolve]] = {
    "consumer-timeout": _shorter,
    "delivery-limit": _stricter,
    "expires": _lower,
    "max-in-memory-bytes": _lower,
    "max-in-memory-length": _lower,
    "max-length": _lower,
    "max-length-bytes": _lower,
    "message-ttl": _lower,
}
"""Where a policy and an operator policy, or a policy and an argument say something; of others see `_BY_TYPE`."""
_BY_TYPE: Final[dict[str, dict[str, Resolve]]] = {
    "classic": {},
    "quorum": {"expires": _policy, "overflow": _policy},
    "stream": {
        "max-age": _policy,
        "max-length-bytes": _policy,
        "stream-max-segment-size-bytes": _policy,
    },
}
"""Where it is another one for queues of a type."""
_ASKED: Final = frozenset((
    "consumer-timeout", "dead-letter-exchange", "dead-letter-routing-key", "delivery-limit", "expires", "max-age",
    "max-length", "max-length-bytes", "max-priority", "message-ttl", "overflow", "stream-max-segment-size-bytes",
))  # fmt: skip
"""What has an effect on queues."""


def merge(policy: Definition | None, operator: Definition | None) -> dict[str, Any]:
    """What a policy and an operator policy say together."""
    merged = dict(policy or {})
    for key, value in (operator or {}).items():
        merged[key] = _MERGE.get(key, _argument)(merged[key], value) if key in merged else value
    return merged


def ask(arguments: Arguments, definition: Definition) -> Arguments:
    """What a queue with these arguments has to do where policies say this: as arguments."""
    resolve = _BY_TYPE[arguments.get("x-queue-type", "classic")]
    asked = dict(arguments)
    for key in _ASKED.intersection(definition):
        name, value = f"x-{key}", definition[key]
        if name in arguments:
            how = resolve.get(key) or _MERGE.get(key, _argument)
            value = how(value, arguments[name])
        asked[name] = value
    return asked


# -- what is wrong


def fault(definition: Any, operator: bool) -> str | None:
    """What is wrong with a definition, in RabbitMQ's words; None: nothing."""
    if not isinstance(definition, dict):
        return f"definition must be a dictionary: {erlang_text(definition)}"
    if not definition:
        return "no policy provided"
    known = OPERATORS if operator else _VALUES.keys() | WITHOUT_EFFECT
    unknown = [
        f"{{{erlang_text(key)},{erlang_text(definition[key])}}}"
        for key in sorted(definition)
        if key not in known
    ]
    if unknown:
        return f"[{','.join(unknown)}] are not recognised policy settings"
    for key in sorted(definition):
        value = definition[key]
        if key in _VALUES and not _VALUES[key][0](value):
            return f"{erlang_text(value)} is not a valid {_VALUES[key][1]}"
    return None


def erlang_text(value: Any) -> str:
    """A value of JSON as RabbitMQ shows it, in Erlang's notation."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return f'<<"{value}"{"" if value.isascii() else "/utf8"}>>'
    if isinstance(value, list):
        return f"[{','.join(map(erlang_text, value))}]"
    if isinstance(value, dict):
        inside = ", ".join(
            f"{erlang_text(key)} => {erlang_text(each)}" for key, each in value.items()
        )
        return f"#{{{inside}}}"
    return str(value)
