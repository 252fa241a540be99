"""Which arguments a queue may be declared with, and what they must look like (texts of RabbitMQ 3.10.8)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.equivalence import describe, type_name
from mansio.core.errors import PreconditionFailed
from mansio.core.field_values import Arguments
from mansio.core.limits import TIME_MAX_MS

if TYPE_CHECKING:
    from mansio.core.queue import Queue

NO_EFFECT_YET: Final = frozenset(("x-single-active-consumer",))
"""Arguments that are checked and kept but not acted on yet; the server logs a warning for each queue that has one."""

_STREAM_ONLY: Final = ("x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size")
_QUORUM_ONLY: Final = ("x-delivery-limit", "x-quorum-initial-group-size")
_OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")


def check_queue_arguments(name: str, vhost: str, arguments: Arguments) -> None:
    """PreconditionFailed for an argument that RabbitMQ would refuse."""
    resource = describe("queue", name, vhost)
    for key, value in arguments.items():
        if key == "x-dead-letter-exchange" and not isinstance(value, str):
            raise PreconditionFailed(
                f"invalid type '{type_name(value)}' for arg '{key}' in {resource}"
            )
        if key in _STREAM_ONLY or key in _QUORUM_ONLY:
            if arguments.get("x-queue-type", "classic") == "classic":
                raise PreconditionFailed(
                    f"invalid arg '{key}' for {resource} of queue type rabbit_classic_queue"
                )
        check = _CHECKS.get(key)
        wrong = check(value, arguments) if check is not None else None
        if wrong is not None:
            raise PreconditionFailed(f"invalid arg '{key}' for {resource}: {wrong}")


def check_quorum(
    name: str, vhost: str, durable: bool, exclusive: bool, arguments: Arguments
) -> None:
    """PreconditionFailed for a quorum queue that could not be one: it is durable and not exclusive."""
    if arguments.get("x-queue-type") != "quorum":
        return
    wrong = "non-durable" if not durable else "exclusive-owner" if exclusive else None
    if wrong is not None:
        raise PreconditionFailed(f"invalid property '{wrong}' for {describe('queue', name, vhost)}")


def check_consumer_arguments(queue: "Queue", arguments: Arguments) -> None:
    """PreconditionFailed for a consumer's argument that RabbitMQ would refuse."""
    wrong = _integer(arguments["x-priority"]) if "x-priority" in arguments else None
    if wrong is not None:
        resource = describe("queue", queue.name, queue.vhost)
        raise PreconditionFailed(f"invalid arg 'x-priority' for {resource}: {wrong}")


def _integer(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {type_name(value)}"'
    return None


def _not_negative(value: Any, _: Arguments) -> str | None:
    return _integer(value) or (f"{{value_negative,{value}}}" if value < 0 else None)


def _time(value: Any, arguments: Arguments) -> str | None:
    wrong = _not_negative(value, arguments)
    return wrong or (f"{{value_too_large,{value}}}" if value > TIME_MAX_MS else None)


def _expires(value: Any, arguments: Arguments) -> str | None:
    if value == 0 and not isinstance(value, bool):
        return "{value_zero,0}"
    return _time(value, arguments)


def _max_priority(value: Any, arguments: Arguments) -> str | None:
    wrong = _not_negative(value, arguments)
    return wrong or (f"{{max_value_exceeded,{value}}}" if value > 255 else None)


def _overflow(value: Any, _: Arguments) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{type_name(value)}}}"
    return None if value in _OVERFLOWS else "invalid_overflow"


def _dead_letter_key(value: Any, arguments: Arguments) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{type_name(value)}}}"
    return None if "x-dead-letter-exchange" in arguments else "routing_key_but_no_dlx_defined"


def _boolean(value: Any, _: Arguments) -> str | None:
    return None if isinstance(value, bool) else f"{{unacceptable_type,{type_name(value)}}}"


def _one_of(what: str, *allowed: Any) -> Callable[[Any, Arguments], str | None]:
    def check(value: Any, _: Arguments) -> str | None:
        if not isinstance(value, type(allowed[0])):
            return f"{{unacceptable_type,{type_name(value)}}}"
        return None if value in allowed else f"\"unsupported {what} '{value}'\""

    return check


_CHECKS: Final[dict[str, Callable[[Any, Arguments], str | None]]] = {
    "x-dead-letter-routing-key": _dead_letter_key,
    "x-expires": _expires,
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-priority": _max_priority,
    "x-message-ttl": _time,
    "x-overflow": _overflow,
    "x-queue-mode": _one_of("queue mode", "default", "lazy"),
    "x-queue-type": _one_of("queue type", "classic", "quorum"),
    "x-queue-version": _one_of("queue version", 1, 2),
    "x-single-active-consumer": _boolean,
}
