"""AMQP bytes as the simulated clients write and read them: methods with their contents."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import Table
from tests.sim.repeats import Window

HEARTBEAT = "heartbeat"
REPLY_TO = "amq.rabbitmq.reply-to"
FILLER = Random(0).randbytes(1 << 18)
"""What bodies consist of, behind their number."""
ID_BYTES = 8

_method_frames: dict[tuple[int, str, str, bool], bytes] = {}
_HEAD = struct.Struct(">BHI").unpack_from


@dataclass(slots=True, eq=False)
class Message:
    """One publish. `number` is in the body, or, where that is too short, in the message id."""

    number: int
    exchange: str
    key: str
    body: bytes
    sent: bytes
    """The payload of its header frame."""
    header: bytes
    """The same as its consumers are to get it."""
    persistent: bool = False
    mandatory: bool = False
    priority: int = 0
    expiration_ms: int | None = None
    headers: Table = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    """Further routing keys, of the CC and BCC headers."""
    delay_ms: int = 0
    """How long it is held back before it is routed."""
    kept: bytes = b""
    """Its header as it is held with."""
    window: Window | None = None
    """What the exchange has seen that it was published to."""
    asks_receipt: tuple[str, str | None] | None = None
    """Where its receipts go, and what they refer to."""
    asks_reply: Properties | None = None
    """Its properties, if they ask for a direct reply."""
    user_id: str | None = None
    """Who has published it, as it says."""
    deaths: list[dict[str, Any]] = field(default_factory=list)
    """The tables of its x-death header, the last death first."""

    def __repr__(self) -> str:
        kind = "persistent " if self.persistent else ""
        return f"{kind}message {self.number} of {len(self.body)} bytes"


@dataclass(slots=True)
class Item:
    """A method from the server, with its content; `method` is HEARTBEAT for a heartbeat. `size`: in bytes."""

    channel: int
    method: m.Method | str
    size: int
    header: bytes = b""
    body: bytes = b""

    @property
    def name(self) -> str:
        return self.method if isinstance(self.method, str) else self.method.NAME


def make_body(number: int, size: int) -> bytes:
    """A body of `size` bytes, which begins with its number if that fits."""
    if size < ID_BYTES:
        return FILLER[:size]
    return number.to_bytes(ID_BYTES, "big") + FILLER[: size - ID_BYTES]


def publish_frames(channel: int, message: Message, frame_max: int, cuts: Sequence[int]) -> bytes:
    """All frames of a publish. `cuts`: sizes of the first body frames; the rest are as large as may be."""
    body = message.body
    route = (channel, message.exchange, message.key, message.mandatory)
    method = _method_frames.get(route)
    if method is None:
        method = _method_frames[route] = m.method_frame(channel, m.BasicPublish(*route[1:]))
    parts = [method, m.frame(m.FRAME_HEADER, channel, message.sent)]
    at = 0
    sizes = iter(cuts)
    while at < len(body):
        size = min(next(sizes, frame_max - 8), frame_max - 8)
        parts.append(m.frame(m.FRAME_BODY, channel, body[at : at + size]))
        at += size
    return b"".join(parts)


class Parser:
    """Puts the frames of one connection together to items. `open`: one whose content is not complete."""

    def __init__(self) -> None:
        self.open: Item | None = None
        self._missing = -1  # bytes of its body; -1: its header is due

    def parse(self, data: bytes) -> list[Item]:
        """The items that are complete with these whole frames. ValueError for anything that is not right."""
        items: list[Item] = []
        at, end = 0, len(data)
        while at < end:
            kind, channel, size = _HEAD(data, at)
            stop = at + 8 + size
            if stop > end or data[stop - 1] != m.FRAME_END:
                raise ValueError(f"frame of {size} bytes at {at} of {end}")
            payload = data[at + 7 : stop - 1]
            at = stop
            if self.open is not None:
                self._add(self.open, kind, channel, payload, items)
            elif kind == m.FRAME_METHOD:
                method = m.decode_method(payload)
                item = Item(channel, method, size + 8)
                if method.CONTENT:
                    self.open = item
                else:
                    items.append(item)
            elif kind == m.FRAME_HEARTBEAT:
                items.append(Item(channel, HEARTBEAT, size + 8))
            else:
                raise ValueError(f"frame of type {kind} on channel {channel}")
        return items

    def _add(self, item: Item, kind: int, channel: int, payload: bytes, items: list[Item]) -> None:
        if channel != item.channel or kind not in (m.FRAME_HEADER, m.FRAME_BODY):
            raise ValueError(f"frame {kind} on channel {channel} inside of a content")
        item.size += len(payload) + 8
        if kind == m.FRAME_HEADER:
            item.header = payload
            self._missing = int.from_bytes(payload[4:12], "big")
        else:
            item.body = item.body + payload if item.body else payload
            self._missing -= len(payload)
        if self._missing < 0:
            raise ValueError(f"a content on channel {channel} is too long")
        if not self._missing:
            items.append(item)
            self.open, self._missing = None, -1


_RETURN = m.BasicReturn().encode()


def parse_content(frames: bytes) -> tuple[bytes, bytes]:
    """(header payload, body) of header and body frames. ValueError."""
    channel = int.from_bytes(frames[1:3], "big")
    items = Parser().parse(m.frame(m.FRAME_METHOD, channel, _RETURN) + frames)
    if len(items) != 1:
        raise ValueError(f"{len(items)} messages in the frames of one")
    return items[0].header, items[0].body
