"""What the value of an argument must look like: each check answers what is wrong (RabbitMQ 3.10.8), or None."""

from collections.abc import Callable
from typing import Any, Final

from mansio.core.equivalence import type_name
from mansio.core.limits import TIME_MAX_MS
from mansio.core.routing import Arguments
from mansio.core.strategies import STRATEGIES, WEIGHT_MAX
from mansio.core.stream_arguments import duration_ms, is_offset

Check = Callable[[Any, Arguments], str | None]
"""(value, all arguments) to what is wrong."""


def integer(value: Any, _: Arguments) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {type_name(value)}"'
    return None


def not_negative(value: Any, arguments: Arguments) -> str | None:
    return integer(value, arguments) or (f"{{value_negative,{value}}}" if value < 0 else None)


def positive(value: Any, arguments: Arguments) -> str | None:
    return "{value_zero,0}" if value == 0 and type(value) is int else not_negative(value, arguments)


def time_to_live(value: Any, arguments: Arguments) -> str | None:
    wrong = not_negative(value, arguments)
    return wrong or (f"{{value_too_large,{value}}}" if value > TIME_MAX_MS else None)


def lease(value: Any, arguments: Arguments) -> str | None:
    return positive(value, arguments) or time_to_live(value, arguments)


def max_priority(value: Any, arguments: Arguments) -> str | None:
    wrong = not_negative(value, arguments)
    return wrong or (f"{{max_value_exceeded,{value}}}" if value > 255 else None)


def dead_letter_key(value: Any, arguments: Arguments) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{type_name(value)}}}"
    return None if "x-dead-letter-exchange" in arguments else "routing_key_but_no_dlx_defined"


def max_age(value: Any, _: Arguments) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{type_name(value)}}}"
    return None if duration_ms(value) else "invalid_max_age"


def stream_offset(value: Any, _: Arguments) -> str | None:
    if is_offset(value):
        return None
    if not isinstance(value, str):
        return f"{{unacceptable_type,{type_name(value)}}}"
    quoted = f'"{value}"' if value else ""
    return f"{{invalid_stream_offset_arg,{{longstr,<<{quoted}>>}}}}"


def text(value: Any, _: Arguments) -> str | None:
    return None if isinstance(value, str) else f"{{unacceptable_type,{type_name(value)}}}"


def boolean(value: Any, _: Arguments) -> str | None:
    return None if isinstance(value, bool) else f"{{unacceptable_type,{type_name(value)}}}"


def weight(value: Any, arguments: Arguments) -> str | None:
    wrong = integer(value, arguments)
    if wrong is None and not 1 <= value <= WEIGHT_MAX:
        wrong = f'"expected a weight from 1 to {WEIGHT_MAX}, got {value}"'
    return wrong


def strategy(value: Any, _: Arguments) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{type_name(value)}}}"
    if value in STRATEGIES:
        return None
    return f"\"unknown dispatch strategy '{value}', expected one of {', '.join(STRATEGIES)}\""


def one_of(what: str, *allowed: Any) -> Check:
    """One of these, all of a type; the text names what it is."""

    def check(value: Any, _: Arguments) -> str | None:
        if not isinstance(value, type(allowed[0])):
            return f"{{unacceptable_type,{type_name(value)}}}"
        return None if value in allowed else f"\"unsupported {what} '{value}'\""

    return check


def word(wrong: str, *allowed: str) -> Check:
    """One of these words, or what is wrong."""

    def check(value: Any, _: Arguments) -> str | None:
        if not isinstance(value, str):
            return f"{{unacceptable_type,{type_name(value)}}}"
        return None if value in allowed else wrong

    return check


overflow: Final = word("invalid_overflow", "drop-head", "reject-publish", "reject-publish-dlx")
dead_letter_strategy: Final = word("invalid_dlx_strategy", "at-most-once", "at-least-once")
leader_locator: Final = word(
    "invalid_queue_locator_arg", "client-local", "balanced", "random", "least-leaders"
)
