"""The first 64 bytes of a peer, and ours (RFC 23, 3.1).

    0   FF ........ 7F    signature; libzmq writes a length of older protocols between
    10  major minor       version
    12  mechanism         20 bytes, with zeros behind
    32  as-server         1: it is the server of the mechanism
    33  31 bytes          nothing

libzmq says its greeting in three steps, each when it has seen some of ours, so ours has two parts: see `OPENING`.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

GREETING_BYTES: Final = 64
SIGNATURE: Final = b"\xff\0\0\0\0\0\0\0\0\x7f"
OPENING: Final = SIGNATURE + b"\x03\x01"
"""What is said at the first sign of a peer: signature and version, 3.1."""

_HTTP: Final = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ")
_TOLD_BYTES: Final = 4
"""So many bytes tell other protocols apart."""


class Greeting(NamedTuple):
    """What a peer has said of itself."""

    minor: int
    """Of the version that both speak: 3.0 or 3.1."""
    mechanism: str
    as_server: bool


def rest_of_greeting(mechanism: str) -> bytes:
    """What follows `OPENING`, once the peer has named its mechanism: ours is the same."""
    as_server = b"\0" if mechanism == "NULL" else b"\1"
    return mechanism.encode().ljust(20, b"\0") + as_server + bytes(31)


def parse_greeting(data: bytes, mechanisms: Collection[str]) -> Greeting | str | None:
    """What the first bytes of a peer say: None if there are not enough of them, or why there is no use in going on, as
    when it asks for none of these mechanisms."""
    if not data:
        return None
    if data[0] != 0xFF:
        return _stranger(data)
    if len(data) < len(SIGNATURE):
        return None
    if data[9] != 0x7F:
        return "it does not speak ZMTP, and this port is for ZeroMQ sockets"
    if len(data) > 10 and data[10] < 3:
        return _older("2.0")
    if len(data) < GREETING_BYTES:
        return None
    name = data[12:32].rstrip(b"\0")
    mechanism = name.decode("ascii", "backslashreplace")
    if mechanism not in mechanisms:
        known = " and ".join(mechanisms)
        return f"it asks for the security mechanism {mechanism!r}; known here: {known}"
    minor = min(data[11], 1) if data[10] == 3 else 1
    return Greeting(minor, mechanism, data[32] == 1)


def _older(version: str) -> str:
    return f"it speaks ZMTP {version}, and 3.0 is the oldest known: it needs libzmq 4 or newer"


def _stranger(data: bytes) -> str | None:
    """Who it is that does not begin as ZMTP 3 does."""
    if len(data) >= 2 and data[1] == 0:
        return _older("1.0")
    if len(data) < _TOLD_BYTES:
        return None
    if data.startswith(_HTTP):
        what = "HTTP"
    elif data.startswith(b"AMQP"):
        what = "AMQP"
    elif data.startswith(b"\x16\x03"):
        what = "TLS"
    elif data[0] == 42 or data.upper().startswith((b"PING", b"AUTH", b"HELL")):
        what = "Redis"
    else:
        return "it does not speak ZMTP, and this port is for ZeroMQ sockets"
    return f"it speaks {what}, and this port is for ZeroMQ sockets"
