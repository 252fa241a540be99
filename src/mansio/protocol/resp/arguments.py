"""Arguments of commands as numbers and names, with the errors of redis-server 7.0.15."""

from typing import Final

from mansio.protocol.resp.errors import NOT_A_FLOAT, NOT_AN_INTEGER, CommandError

INT_MAX: Final = (1 << 63) - 1
INT_MIN: Final = -(1 << 63)


def integer(text: bytes, error: str = NOT_AN_INTEGER) -> int:
    """A signed 64-bit number, written as Redis writes it: no sign +, no leading zeros, no blanks."""
    try:
        value = int(text)
    except ValueError:
        raise CommandError(error) from None
    if b"%d" % value != text or not INT_MIN <= value <= INT_MAX:
        raise CommandError(error)
    return value


def small(text: bytes) -> int:
    """A signed 32-bit number, such as that of a database."""
    value = integer(text)
    if not -(1 << 31) <= value < 1 << 31:
        raise CommandError(
            "ERR value is out of range, value must between -2147483648 and 2147483647"
        )
    return value


def real(text: bytes, error: str = NOT_A_FLOAT) -> float:
    """A number with or without a fraction; not a NaN."""
    try:
        value = float(text)
    except ValueError:
        raise CommandError(error) from None
    if value != value or b"_" in text or text != text.strip():
        raise CommandError(error)
    return value


def name_of(key: bytes) -> str:
    """The name of the queue that a key stands for: every byte has its place in it, see `key_of`."""
    return key.decode("utf-8", "surrogateescape")


def key_of(name: str) -> bytes:
    """The key that stands for a queue."""
    return name.encode("utf-8", "surrogateescape")
