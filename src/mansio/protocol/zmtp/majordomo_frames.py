"""Majordomo messages: 0.1 as 7/MDP has it, and 0.2 as 18/MDP. Sections of https://rfc.zeromq.org/spec/7 and /18.

    prefix | header | command and what belongs to it

    0.1   client   '' MDPC01 service body…                 reply    '' MDPC01 service body…
          worker   '' MDPW01 command …
    0.2   client   MDPC02 \\x01 service body…               replies  MDPC02 \\x02|\\x03 service body…
          worker   MDPW02 command …

What stands before the header (the empty frame of 0.1, addresses that a proxy has put there) is the *prefix*; answers
have the same one. A request to a worker, and each of its replies, has one address and an empty frame before the body.
"""

from enum import Enum
from typing import Final, NamedTuple

CLIENT_1: Final = b"MDPC01"
CLIENT_2: Final = b"MDPC02"
WORKER_1: Final = b"MDPW01"
WORKER_2: Final = b"MDPW02"
HEADERS: Final = frozenset((CLIENT_1, CLIENT_2, WORKER_1, WORKER_2))

MMI: Final = b"mmi."
"""What the names of the broker's own services begin with (8/MMI)."""

_REQUEST: Final = b"\x01"
_PARTIAL: Final = b"\x02"
_FINAL: Final = b"\x03"
"""Of clients, in 0.2."""


class Word(Enum):
    """What a worker says, or is told."""

    READY = "READY"
    REQUEST = "REQUEST"
    PARTIAL = "PARTIAL"
    FINAL = "FINAL"
    """REPLY in 0.1."""
    HEARTBEAT = "HEARTBEAT"
    DISCONNECT = "DISCONNECT"
    INVALID = "invalid"
    """Nothing that a worker may say."""


_BYTES: Final = {
    WORKER_1: {
        Word.READY: b"\x01",
        Word.REQUEST: b"\x02",
        Word.FINAL: b"\x03",
        Word.HEARTBEAT: b"\x04",
        Word.DISCONNECT: b"\x05",
    },
    WORKER_2: {
        Word.READY: b"\x01",
        Word.REQUEST: b"\x02",
        Word.PARTIAL: b"\x03",
        Word.FINAL: b"\x04",
        Word.HEARTBEAT: b"\x05",
        Word.DISCONNECT: b"\x06",
    },
}
_WORDS: Final = {
    header: {data: word for word, data in words.items() if word is not Word.REQUEST}
    for header, words in _BYTES.items()
}


class Said(NamedTuple):
    """A worker's command. `name`: the service of READY, the address of PARTIAL and FINAL."""

    word: Word
    name: bytes = b""
    body: list[bytes] = []


class Asked(NamedTuple):
    """A client's request; at least one frame of body."""

    service: bytes
    body: list[bytes]


def header_at(frames: list[bytes]) -> int:
    """Where the header of a Majordomo message stands, -1 if it is none: first, behind the first empty frame, or, in 0.2
    where there is no empty one, behind addresses of proxies."""
    if frames[0] in HEADERS:
        return 0
    for i in range(1, len(frames)):
        if frames[i] in HEADERS:
            if not frames[i - 1]:
                return i
            commanded = frames[i] == WORKER_2 or frames[i + 1 : i + 2] == [_REQUEST]
            return i if frames[i] in (CLIENT_2, WORKER_2) and commanded else -1
        if not frames[i - 1]:
            return -1
    return -1


def parse_request(header: bytes, rest: list[bytes]) -> Asked | None:
    """What a client asks for, from the frames behind its header; None if that is no request."""
    if header == CLIENT_2:
        if rest[:1] != [_REQUEST]:
            return None
        rest = rest[1:]
    if len(rest) < 2 or not rest[0]:
        return None
    return Asked(rest[0], rest[1:])


def reply(header: bytes, service: bytes, body: list[bytes], partial: bool = False) -> list[bytes]:
    """The frames of a reply to a client, its header first. Of 0.1 none is partial."""
    if header == CLIENT_1:
        return [header, service, *body]
    return [header, _PARTIAL if partial else _FINAL, service, *body]


def parse_command(header: bytes, rest: list[bytes]) -> Said:
    """What a worker says, from the frames behind its header. A reply without a body has an empty one."""
    word = _WORDS[header].get(rest[0]) if rest else None
    match word:
        case Word.READY if len(rest) == 2 and rest[1]:
            return Said(word, rest[1])
        case Word.PARTIAL | Word.FINAL if len(rest) >= 3 and rest[1] and not rest[2]:
            return Said(word, rest[1], rest[3:] or [b""])
        case Word.HEARTBEAT | Word.DISCONNECT if len(rest) == 1:
            return Said(word)
    return Said(Word.INVALID)


def command(header: bytes, word: Word) -> list[bytes]:
    """HEARTBEAT or DISCONNECT to a worker, its header first."""
    return [header, _BYTES[header][word]]


def request(header: bytes, address: bytes, body: list[bytes]) -> list[bytes]:
    """A REQUEST to a worker, its header first. Replies will name `address`, one frame that is not empty."""
    return [header, _BYTES[header][Word.REQUEST], address, b"", *body]
