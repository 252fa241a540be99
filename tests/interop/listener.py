"""What a broker sends, as S lines in the notation of transcript.py."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.interop.methods import BY_ID, CONTENT_METHODS, PROPERTIES
from tests.interop.values import show_table, show_text, to_text
from tests.interop.wire import (
    BODY,
    HEADER,
    HEARTBEAT,
    METHOD,
    Frame,
    Wire,
    decode_header,
    decode_method,
)

KINDS = dict(PROPERTIES)
DEATH_TIME = re.compile(r"\btime=T:\d{10}\b")  # of an x-death header, in seconds
VHOST_DOWN = re.compile(r"(\bvhost '[^']*' is )down\b")  # said when it is deleted, or "deleted"
CLOSED_CHANNEL = 1 << 16  # sorts `S closed` behind every channel
GENERATED = (
    ("reply", re.compile(r"amq\.rabbitmq\.reply-to\.[\w+/=.-]{16,}")),
    ("gen", re.compile(r"amq\.gen-[\w-]{22}")),
    ("ctag", re.compile(r"amq\.ctag-[\w-]{22}")),
)


@dataclass(frozen=True, slots=True, order=True)
class Heard:
    """One S line, where it came from, and how it sorts within a step: by connection and channel."""

    label: str
    channel: int
    line: str

    @property
    def place(self) -> tuple[str, int]:
        """Connection and channel."""
        return self.label, self.channel


@dataclass(slots=True)
class Content:
    """A content that is still arriving on one channel; size is -1 before its header has come."""

    line: str
    size: int
    properties: dict[str, Any]
    frames: list[bytes]


class Names:
    """What the broker made up in this section: placeholder ($gen1) to name, numbered as they appear."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """The text with placeholders for generated names and for the time of a death."""
        for kind, pattern in GENERATED:
            text = pattern.sub(self._placeholder(kind), text)
        text = DEATH_TIME.sub("time=T:$now", text)
        text = VHOST_DOWN.sub(r"\1deleted", text)
        return re.sub(r'"(\$[a-z]+\d+)"', r"\1", text)

    def _placeholder(self, kind: str) -> Callable[[re.Match[str]], str]:
        def replace(found: re.Match[str]) -> str:
            for name, value in self.known.items():
                if value == found[0]:
                    return name
            count = sum(1 for name in self.known if name.startswith(f"${kind}"))
            self.known[f"${kind}{count + 1}"] = found[0]
            return f"${kind}{count + 1}"

        return replace


def shown(kind: str, value: Any) -> str:
    """An argument or property as text."""
    if kind == "F":
        return show_table(value)
    return show_text(value) if kind in "sS" else str(value)


class Listener:
    """Turns the frames of one connection into S lines.

    queues collects the names that the broker mentions in queue.declare-ok.
    """

    def __init__(self, wire: Wire, label: str, names: Names, queues: set[str]) -> None:
        self.wire = wire
        self.label = label
        self.names = names
        self.queues = queues
        self.contents: dict[int, Content] = {}
        self.broker_closes = False  # it sent connection.close
        self.agreed = False  # and was answered
        self.finished = False  # closed as agreed, or `S closed` was said

    def maybe_heard(self, timeout_seconds: float) -> Heard | None:
        """The next thing that arrives whole, or None."""
        deadline = time.monotonic() + timeout_seconds
        while not self.finished:
            frame = self.wire.maybe_frame(max(0.0, deadline - time.monotonic()))
            if frame is None and not self.wire.closed:
                return None
            if frame is None:
                self.finished = True
                silent = (
                    self.broker_closes and not self.agreed
                )  # whether it waits is its own affair
                return None if silent else self.heard(CLOSED_CHANNEL, "closed")
            text = self._maybe_text(frame)
            if text is not None:
                return self.heard(frame.channel, text)
        return None

    def heard(self, channel: int, text: str) -> Heard:
        """A line of this connection."""
        mark = f"S.{self.label}" if self.label else "S"
        return Heard(self.label, channel, f"{mark} {self.names.hide(text)}")

    def _maybe_text(self, frame: Frame) -> str | None:
        """Text of a frame, or None when it is part of a content that is not complete."""
        if frame.type == -1:
            return f"raw {frame.payload.hex()}"
        if frame.type == METHOD:
            return self._maybe_method(frame)
        content = self.contents.get(frame.channel)
        if frame.type == HEADER and content is not None:
            content.size, content.properties = decode_header(frame.payload)
        elif frame.type == BODY and content is not None:
            content.frames.append(frame.payload)
        else:
            kind = "heartbeat" if frame.type == HEARTBEAT else f"frame type={frame.type}"
            return f"ch{frame.channel} {kind} {frame.payload.hex()}".rstrip()
        return self._maybe_content(frame.channel, content)

    def _maybe_method(self, frame: Frame) -> str | None:
        method, values = decode_method(frame.payload)
        start = f"ch{frame.channel} {method.name}"
        if method.name == "queue.declare-ok":
            self.queues.add(values["queue"])
        self.broker_closes |= method.name == "connection.close"
        self.finished |= method.name == "connection.close-ok"
        if method.name in ("channel.close", "connection.close"):
            ids = values["class_id"], values["method_id"]
            failed = BY_ID[ids].name if ids in BY_ID else f"{ids[0]}.{ids[1]}"
            return f"{start} {values['reply_code']} {show_text(values['reply_text'])} ({failed})"
        if method.name == "connection.start":
            properties = values["server_properties"]
            for key, (letter, _) in properties.items():
                properties[key] = ("S", "$any") if letter == "S" else properties[key]
        kinds = dict(method.fields)
        pairs = [f"{n}={shown(kinds[n], v)}" for n, v in values.items() if n[0] != "_"]
        text = " ".join([start, *pairs])
        if method.name not in CONTENT_METHODS:
            return text
        self.contents[frame.channel] = Content(text, -1, {}, [])
        return None

    def _maybe_content(self, channel: int, content: Content) -> str | None:
        body = b"".join(content.frames)
        if len(body) < content.size:
            return None
        del self.contents[channel]
        pairs = [f"{name}={shown(KINDS[name], v)}" for name, v in content.properties.items()]
        pairs.append(f"body={show_text(to_text(body))}")
        if len(content.frames) > 1:
            pairs.append(f"frames={len(content.frames)}")
        return f"{content.line} | {' '.join(pairs)}"
