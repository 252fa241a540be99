"""Replies, and how they look in RESP2 and RESP3.

    str        simple string      int    number            bytes   bulk string        None       null, as a bulk string
    list       array              dict   map               set     set                NULL_ARRAY null, as an array
    float      double             bool   boolean           Verbatim  text             Push       out of band
    CommandError  error, also inside of arrays             Raw     bytes of RESP as they are

In RESP2 maps and sets are arrays, doubles and texts are bulk strings, booleans are 1 and 0, pushes are arrays.
"""

from typing import Any, Final, NamedTuple

from mansio.codec.resp import encode_reply
from mansio.codec.resp_quick import NO_REPLY, NoReply, Raw
from mansio.protocol.resp.errors import CommandError

__all__ = ["NO_REPLY", "NoReply", "Raw"]


class Verbatim(NamedTuple):
    """Text for people."""

    text: str
    format: str = "txt"


class Push(NamedTuple):
    """What comes without having been asked for, such as a message of a channel."""

    items: list[Any]


class NullArray:
    """See `NULL_ARRAY`."""


NULL_ARRAY: Final = NullArray()
"""What blocking commands and EXEC answer in RESP2 when there is nothing: `*-1`."""
OK: Final = Raw(b"+OK\r\n")
PONG: Final = Raw(b"+PONG\r\n")
QUEUED: Final = Raw(b"+QUEUED\r\n")


def encode(value: Any, proto: int) -> bytes:
    """A reply for a client that speaks version `proto`, 2 or 3."""
    return encode_reply(value, proto, encode_rare)


def encode_rare(value: Any, proto: int) -> bytes:
    """A reply of one of the kinds that the codec leaves to others."""
    if type(value) is Raw:
        return value.data
    if value is NULL_ARRAY:
        return b"_\r\n" if proto == 3 else b"*-1\r\n"
    if isinstance(value, CommandError):
        return encode_error(value.text)
    if isinstance(value, dict):
        items = [each for pair in value.items() for each in pair]
        return _items(b"%%%d\r\n" % len(value) if proto == 3 else b"", items, proto)
    if isinstance(value, set):
        return _items(b"~%d\r\n" % len(value) if proto == 3 else b"", list(value), proto)
    if isinstance(value, Push):
        return _items(b">%d\r\n" % len(value.items) if proto == 3 else b"", value.items, proto)
    if isinstance(value, bool):
        return (b"#t\r\n" if value else b"#f\r\n") if proto == 3 else b":%d\r\n" % value
    if isinstance(value, float):
        text = format_double(value)
        return b",%b\r\n" % text if proto == 3 else b"$%d\r\n%b\r\n" % (len(text), text)
    if isinstance(value, Verbatim):
        text = value.text.encode("utf-8", "surrogateescape")
        if proto == 3:
            text = value.format.encode() + b":" + text
        sign = b"=" if proto == 3 else b"$"
        return b"%b%d\r\n%b\r\n" % (sign, len(text), text)
    raise TypeError(f"no reply can be {value!r}")


def _items(head: bytes, items: list[Any], proto: int) -> bytes:
    """Behind this head, or as an array."""
    parts = [head or b"*%d\r\n" % len(items)]
    parts += [encode_reply(item, proto, encode_rare) for item in items]
    return b"".join(parts)


def encode_error(text: str) -> bytes:
    """An error; line ends in it become blanks."""
    return b"-%b\r\n" % text.translate(_ONE_LINE).encode("utf-8", "surrogateescape")


_ONE_LINE: Final = {10: " ", 13: " "}


def format_double(value: float) -> bytes:
    """As redis-server writes doubles: 17 significant digits, no exponent for whole numbers."""
    if value != value:
        return b"nan"
    if value in (float("inf"), float("-inf")):
        return b"inf" if value > 0 else b"-inf"
    if value == int(value) and abs(value) < 1e17:
        return b"%d" % int(value)
    return repr(value).encode()
