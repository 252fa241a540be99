"""Replies, and how they look in RESP2 and RESP3.

    str        simple string      int    number            bytes   bulk string        None       null, as a bulk string
    list       array              dict   map               set     set                NULL_ARRAY null, as an array
    float      double             bool   boolean           Verbatim  text             Push       out of band
    CommandError  error, also inside of arrays             Raw     bytes of RESP as they are

In RESP2 maps and sets are arrays, doubles and texts are bulk strings, booleans are 1 and 0, pushes are arrays.
"""

from typing import Any, Final, NamedTuple

from mansio.protocol.resp.errors import CommandError


class Verbatim(NamedTuple):
    """Text for people."""

    text: str
    format: str = "txt"


class Push(NamedTuple):
    """What comes without having been asked for, such as a message of a channel."""

    items: list[Any]


class Raw(NamedTuple):
    """RESP that was encoded elsewhere."""

    data: bytes


class NullArray:
    """See `NULL_ARRAY`."""


class NoReply:
    """See `NO_REPLY`."""


NULL_ARRAY: Final = NullArray()
"""What blocking commands and EXEC answer in RESP2 when there is nothing: `*-1`."""
NO_REPLY: Final = NoReply()
"""The command has answered by itself, or will: it waits for something."""
OK: Final = Raw(b"+OK\r\n")
QUEUED: Final = Raw(b"+QUEUED\r\n")


def encode(value: Any, proto: int) -> bytes:
    """A reply for a client that speaks version `proto`, 2 or 3."""
    out: list[bytes] = []
    _encode(value, proto, out)
    return b"".join(out)


def _encode(value: Any, proto: int, out: list[bytes]) -> None:
    kind = type(value)
    if kind is bytes:
        out.append(b"$%d\r\n%b\r\n" % (len(value), value))
    elif kind is int:
        out.append(b":%d\r\n" % value)
    elif value is None:
        out.append(b"_\r\n" if proto == 3 else b"$-1\r\n")
    elif kind is Raw:
        out.append(value.data)
    elif kind is str:
        out.append(b"+%b\r\n" % value.encode("utf-8", "surrogateescape"))
    elif kind is list:
        _encode_items(b"*", value, proto, out)
    elif value is NULL_ARRAY:
        out.append(b"_\r\n" if proto == 3 else b"*-1\r\n")
    elif kind is CommandError:
        out.append(encode_error(value.text))
    else:
        _encode_rare(value, proto, out)


def _encode_items(sign: bytes, items: list[Any], proto: int, out: list[bytes]) -> None:
    out.append(b"%b%d\r\n" % (sign, len(items)))
    for item in items:
        _encode(item, proto, out)


def _encode_rare(value: Any, proto: int, out: list[bytes]) -> None:
    if isinstance(value, dict):
        sign, size = (b"%", len(value)) if proto == 3 else (b"*", 2 * len(value))
        out.append(b"%b%d\r\n" % (sign, size))
        for key, item in value.items():
            _encode(key, proto, out)
            _encode(item, proto, out)
    elif isinstance(value, set):
        _encode_items(b"~" if proto == 3 else b"*", list(value), proto, out)
    elif isinstance(value, Push):
        _encode_items(b">" if proto == 3 else b"*", value.items, proto, out)
    elif isinstance(value, bool):
        out.append((b"#t\r\n" if value else b"#f\r\n") if proto == 3 else b":%d\r\n" % value)
    elif isinstance(value, float):
        text = format_double(value)
        out.append(b",%b\r\n" % text if proto == 3 else b"$%d\r\n%b\r\n" % (len(text), text))
    elif isinstance(value, Verbatim):
        text = value.text.encode("utf-8", "surrogateescape")
        if proto == 3:
            text = value.format.encode() + b":" + text
        sign = b"=" if proto == 3 else b"$"
        out.append(b"%b%d\r\n%b\r\n" % (sign, len(text), text))
    else:
        raise TypeError(f"no reply can be {value!r}")


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
