"""Declaring what exists already: it must be the same (specification 1.6.2.1, 1.7.2.1; texts of RabbitMQ 3.10.8)."""

from typing import Any

from mansio.core.errors import PreconditionFailed
from mansio.core.field_values import Arguments, freeze
from mansio.core.field_values import type_name as type_name

QUEUE_ARGUMENTS = (
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-delivery-limit",
    "x-dispatch-strategy",
    "x-expires",
    "x-head",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-message-ttl",
    "x-overflow",
    "x-queue-leader-locator",
    "x-queue-mode",
    "x-queue-type",
    "x-queue-version",
    "x-quorum-initial-group-size",
    "x-retry",
    "x-single-active-consumer",
    "x-stream",
    "x-stream-group",
    "x-stream-protected",
)
STREAM_ARGUMENTS = (
    "x-max-length-bytes",
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
)
EXCHANGE_ARGUMENTS = ("alternate-exchange", "x-delayed-type")

_DEFAULTS = {
    "x-dispatch-strategy": "round-robin",
    "x-head": "right",
    "x-queue-type": "classic",
}


def describe(kind: str, name: str, vhost: str) -> str:
    """How RabbitMQ names a resource in its texts."""
    return f"{kind} '{name}' in vhost '{vhost}'"


def check_field(resource: str, field: str, received: Any, current: Any) -> None:
    """Refuses a declaration whose `field` differs from what exists."""
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{field}' for {resource}: received '{_text(received)}' but current is '{_text(current)}'"
        )


def check_arguments(
    resource: str, keys: tuple[str, ...], received: Arguments, current: Arguments
) -> None:
    """Refuses a declaration whose arguments named in `keys` differ from those that exist."""
    for key in keys:
        default = _DEFAULTS.get(key)
        if freeze(received.get(key, default)) != freeze(current.get(key, default)):
            if key in received and key in current:
                check_field(resource, key, received[key], current[key])
            raise PreconditionFailed(
                f"inequivalent arg '{key}' for {resource}: "
                f"received {_value(received, key)} but current is {_value(current, key)}"
            )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(arguments: Arguments, key: str) -> str:
    if key not in arguments:
        return "none"
    value = arguments[key]
    return f"the value '{_text(value)}' of type '{type_name(value)}'"
