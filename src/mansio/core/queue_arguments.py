"""Which arguments queues and consumers may be declared with (order and texts of the checks of RabbitMQ 3.10.8)."""

from typing import TYPE_CHECKING, Any, Final

from mansio.core import argument_checks as a
from mansio.core import retry
from mansio.core.deduplication import wrong_argument
from mansio.core.equivalence import describe, type_name
from mansio.core.errors import PreconditionFailed
from mansio.core.field_values import Arguments
from mansio.core.group import PROTECTED, SOURCE
from mansio.core.rota import ROTA
from mansio.core.stream_arguments import OFFSET, SEGMENT_BYTES_MAX

if TYPE_CHECKING:
    from mansio.core.queue import Queue

_COMMON: Final = (
    "x-cache-size",
    "x-cache-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dispatch-strategy",
    "x-expires",
    "x-head",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-message-ttl",
    "x-overflow",
    "x-queue-type",
    "x-retry",
    "x-single-active-consumer",
)
_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "classic": (*_COMMON, "x-queue-mode", "x-queue-version", "x-queue-master-locator"),
    "quorum": (
        *_COMMON,
        "x-dead-letter-strategy",
        "x-delivery-limit",
        "x-max-in-memory-bytes",
        "x-max-in-memory-length",
        "x-queue-leader-locator",
        "x-quorum-initial-group-size",
    ),
    "stream": (
        "x-initial-cluster-size",
        "x-max-age",
        "x-max-length-bytes",
        "x-queue-leader-locator",
        "x-queue-type",
        "x-stream-max-segment-size-bytes",
    ),
}
"""Arguments that each type of queue knows. Quorum queues have priorities here, which RabbitMQ refuses until 4.0."""
_OTHERS: Final = frozenset(name for names in _TYPES.values() for name in names)

_VALUES: Final[dict[str, a.Check]] = {
    "x-expires": a.lease,
    "x-message-ttl": a.time_to_live,
    "x-dead-letter-routing-key": a.dead_letter_key,
    "x-dead-letter-strategy": a.dead_letter_strategy,
    "x-max-length": a.not_negative,
    "x-max-length-bytes": a.not_negative,
    "x-max-in-memory-length": a.not_negative,
    "x-max-in-memory-bytes": a.not_negative,
    "x-max-priority": a.max_priority,
    "x-overflow": a.overflow,
    "x-queue-mode": a.one_of("queue mode", "default", "lazy"),
    "x-queue-version": a.one_of("queue version", 1, 2),
    "x-single-active-consumer": a.boolean,
    "x-quorum-initial-group-size": a.positive,
    "x-queue-leader-locator": a.leader_locator,
    "x-max-age": a.max_age,
    "x-stream-max-segment-size-bytes": a.not_negative,
    "x-initial-cluster-size": a.positive,
    "x-consumer-timeout": a.not_negative,
    "x-head": a.one_of("head", "left", "right"),
    "x-dispatch-strategy": a.strategy,
    "x-retry": lambda value, _: retry.fault(value),
}
"""In the order in which they are checked; the last ones are Mansio's own."""

_NOT_FOR_GROUPS: Final = frozenset(
    (
        "x-head",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-message-deduplication",
        "x-message-ttl",
        "x-overflow",
    )
)
_GROUP_VALUES: Final[dict[str, a.Check]] = {
    SOURCE: a.text,
    OFFSET: a.stream_offset,
    PROTECTED: a.boolean,
    ROTA: a.text,
}
"""Of consumer groups: see group.py."""

_QUEUE_TYPE: Final = a.one_of("queue type", "classic", "quorum", "stream")

_CONSUMER_VALUES: Final[dict[str, a.Check]] = {
    "x-cancel-on-ha-failover": a.boolean,
    "x-consumer-timeout": a.not_negative,
    "x-priority": a.integer,
    "x-weight": a.weight,
}
_CONSUMER_FOREIGN: Final = {
    "classic": ("x-stream-offset",),
    "quorum": ("x-stream-offset", "x-cancel-on-ha-failover"),
    "stream": ("x-priority", "x-cancel-on-ha-failover"),
}


def check_queue_arguments(name: str, vhost: str, arguments: Arguments) -> None:
    """PreconditionFailed for an argument that is wrong, or that queues of this type do not have."""
    resource = describe("queue", name, vhost)
    if "x-queue-type" in arguments:
        _check("x-queue-type", _QUEUE_TYPE, arguments, resource)
    kind = arguments.get("x-queue-type", "classic")
    known = _TYPES[kind]
    if kind != "stream":
        _check_dead_letter_exchange(arguments, resource)
    for key, check in _VALUES.items():
        if key in arguments and (key in known or key not in _OTHERS):
            _check(key, check, arguments, resource)
    for key in arguments:
        if key in _OTHERS and key not in known:
            raise _foreign(key, resource, kind)
    if SOURCE in arguments:
        _check_group(arguments, resource, kind)
    if (wrong := wrong_argument(arguments)) is not None:
        raise PreconditionFailed(f"invalid arg '{wrong[0]}' for {resource}: {wrong[1]}")


def _check_group(arguments: Arguments, resource: str, kind: str) -> None:
    """What a stream feeds cannot refuse messages, nor put them into another order."""
    for key in arguments:
        if key in _NOT_FOR_GROUPS or kind == "stream":
            raise PreconditionFailed(
                f"invalid arg '{key if kind != 'stream' else SOURCE}' for {resource}: a stream feeds it"
            )
    for key, check in _GROUP_VALUES.items():
        if key in arguments:
            _check(key, check, arguments, resource)


def _check_dead_letter_exchange(arguments: Arguments, resource: str) -> None:
    key = "x-dead-letter-exchange"
    if key in arguments and not isinstance(arguments[key], str):
        kind = type_name(arguments[key])
        raise PreconditionFailed(f"invalid type '{kind}' for arg '{key}' in {resource}")


def check_replicated(
    name: str,
    vhost: str,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    generated: bool,
    arguments: Arguments,
) -> None:
    """PreconditionFailed for a quorum queue, or a stream, that could not be one: it stays until somebody deletes it."""
    kind = arguments.get("x-queue-type", "classic")
    if kind == "classic":
        return
    if generated:
        text = f"Cannot declare a server-named queue for type rabbit_{kind}_queue"
        raise PreconditionFailed(text)
    wrong = None
    if auto_delete:
        wrong = "auto-delete"
    elif exclusive:
        wrong = "exclusive-owner"
    elif not durable:
        wrong = "non-durable"
    if wrong is not None:
        raise PreconditionFailed(f"invalid property '{wrong}' for {describe('queue', name, vhost)}")
    if arguments.get("x-stream-max-segment-size-bytes", 0) > SEGMENT_BYTES_MAX and kind == "stream":
        raise PreconditionFailed("Exceeded max value for x-stream-max-segment-size-bytes")


def check_consumer_arguments(queue: "Queue", arguments: Arguments) -> None:
    """PreconditionFailed for a consumer's argument that is wrong, or not for queues of this type."""
    resource = describe("queue", queue.name, queue.vhost)
    kind = str(queue.arguments.get("x-queue-type", "classic"))
    if kind == "stream" and OFFSET in arguments:
        _check(OFFSET, a.stream_offset, arguments, resource)
    for key in arguments:
        if key in _CONSUMER_FOREIGN[kind]:
            raise _foreign(key, resource, kind)
        check = _CONSUMER_VALUES.get(key)
        if check is not None:
            _check(key, check, arguments, resource)


def _check(key: str, check: a.Check, arguments: Arguments, resource: str) -> None:
    value: Any = arguments[key]
    wrong = check(value, arguments)
    if wrong is not None:
        raise PreconditionFailed(f"invalid arg '{key}' for {resource}: {wrong}")


def _foreign(key: str, resource: str, kind: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"invalid arg '{key}' for {resource} of queue type rabbit_{kind}_queue"
    )
