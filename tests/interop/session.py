"""Plays one section of a transcript against a broker and says what came back, in the notation of transcript.py."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.interop.methods import BY_ID, BY_NAME, CONTENT_METHODS, PROPERTIES
from tests.interop.transcript import Section
from tests.interop.values import Reader, Table, Value, show_table, show_text, to_bytes, to_text
from tests.interop.wire import (
    BODY,
    HEADER,
    HEARTBEAT,
    METHOD,
    Frame,
    Wire,
    content_frames,
    decode_header,
    decode_method,
    header_payload,
    method_payload,
)

GENERATED = (
    ("reply", re.compile(r"amq\.rabbitmq\.reply-to\.[\w+/=.-]{16,}")),
    ("gen", re.compile(r"amq\.gen-[\w-]{22}")),
    ("ctag", re.compile(r"amq\.ctag-[\w-]{22}")),
)
KINDS = dict(PROPERTIES)
SLOW_SECONDS = 4.5
REPLY_SECONDS = 4.0
CLOSED_CHANNEL = 1 << 16  # sorts `S closed` behind every channel


@dataclass(slots=True)
class Content:
    """A content that is still arriving on one channel."""

    line: str
    size: int
    properties: dict[str, Any]
    frames: list[bytes]


class Peer:
    """One connection of a section: the wire and the contents that are still arriving."""

    def __init__(self, wire: Wire, label: str) -> None:
        self.wire = wire
        self.label = label
        self.partial: dict[int, Content] = {}
        self.held = b""
        self.logged_in = False
        self.broker_closes = False
        self.told_closed = False


def shown(kind: str, value: Any) -> str:
    """An argument or property as text."""
    if kind == "F":
        return show_table(value)
    return show_text(value) if kind in "sS" else str(value)


def show_ranges(numbers: set[int]) -> str:
    """Numbers as 1-3,5."""
    words: list[str] = []
    row: list[int] = []
    for number in [*sorted(numbers), -1]:
        if row and number != row[-1] + 1:
            words.append(str(row[0]) if len(row) == 1 else f"{row[0]}-{row[-1]}")
            row = []
        row.append(number)
    return ",".join(words)


class Session:
    """The connections of one section, and the generated names seen so far."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.peers: dict[str, Peer] = {}
        self.names: dict[str, str] = {}
        self.queues: set[str] = set()
        self.exchanges: set[str] = set()
        self.made: list[tuple[str, int, str]] = []  # lines that macros made

    # -- what the client does

    def do(self, line: str) -> None:
        """Carry out one C line; raises ValueError for a line that cannot be read."""
        head, _, rest = line.partition(" ")
        hold = head.startswith("C+")
        label = head.partition(".")[2]
        reader = Reader(rest, self.names)
        word = reader.take_word()
        if word == "wait":
            time.sleep(int(reader.take_word()) / 1000)
        elif word in ("connect", "login"):
            self._connect(label, word, reader)
        elif word == "close":
            self.peers[label].wire.close()
            del self.peers[label]
        else:
            self._send(self.peers[label], word, reader, hold)

    def _connect(self, label: str, word: str, reader: Reader) -> None:
        peer = Peer(Wire(self.host, self.port), label)
        self.peers[label] = peer
        if reader.at_end() and word == "connect":
            return
        channels: list[int] = []
        options: Table = {}
        while not reader.at_end():
            name = reader.take_word()
            if reader.skip("="):
                options[name] = reader.take_value()
            else:
                channels.append(int(name[2:]))
        peer.wire.login(options)
        peer.logged_in = word == "login"
        for channel in channels:
            peer.wire.open_channel(channel)

    def _send(self, peer: Peer, word: str, reader: Reader, hold: bool) -> None:
        """Send, or hold back for the next line, what a C line of one channel says."""
        if word == "raw":
            raw = bytes.fromhex("".join(reader.line[reader.pos :].split()))
        else:
            channel = int(word.removeprefix("ch"))
            verb = reader.take_word()
            macros = {
                "sync": self._sync,
                "reopen": self._reopen,
                "drain": self._drain_queues,
                "confirms": self._confirms,
            }
            if verb in macros:
                peer.wire.send_raw(peer.held)
                peer.held = b""
                macros[verb](peer, channel, reader)
                return
            raw = self._encode(peer, channel, verb, reader)
        peer.held += raw
        if not hold:
            peer.wire.send_raw(peer.held)
            peer.held = b""

    def _encode(self, peer: Peer, channel: int, verb: str, reader: Reader) -> bytes:
        """Bytes of the frames of one C line."""
        if verb == "heartbeat":
            return Frame(HEARTBEAT, channel, b"").encode()
        if verb == "body":
            return Frame(BODY, channel, to_bytes(reader.take_text())).encode()
        if verb == "frame":
            given = self._pairs(reader, {"type": "o", "payload": "S", "end": "o"})
            frame = Frame(given["type"], channel, to_bytes(given.get("payload", "")))
            return frame.encode(given.get("end", 0xCE))
        if verb == "header":
            given = self._pairs(reader, KINDS | {"size": "L", "class": "h", "weight": "h"})
            numbers = (given.pop("size"), given.pop("class", 60), given.pop("weight", 0))
            payload = header_payload(numbers[0], given, numbers[1], numbers[2])
            return Frame(HEADER, channel, payload).encode()
        values = self._pairs(reader, dict(BY_NAME[verb].fields))
        self._note_names(verb, values)
        frames = [Frame(METHOD, channel, method_payload(verb, values))]
        if reader.skip("|"):
            properties = self._pairs(reader, KINDS | {"body": "S"})
            body = to_bytes(properties.pop("body", ""))
            header = header_payload(len(body), properties)
            frames += content_frames(channel, body, peer.wire.frame_max, header)
        return b"".join(frame.encode() for frame in frames)

    def _pairs(self, reader: Reader, kinds: dict[str, str]) -> dict[str, Any]:
        """`name=value` pairs up to the end of the line or a bar."""
        values: dict[str, Any] = {}
        while not reader.at_end() and reader.line[reader.pos] != "|":
            name = reader.take_word()
            if name not in kinds or not reader.skip("="):
                raise ValueError(f"no field {name!r} here: {reader.line}")
            kind = kinds[name]
            if kind == "F":
                value: Value = reader.take_value()
                values[name] = value[1]
            elif kind in "sS":
                values[name] = reader.take_text()
            else:
                values[name] = int(reader.take_word())
        return values

    def _note_names(self, method: str, values: dict[str, Any]) -> None:
        """Remember what a section may leave behind."""
        if method.startswith(("queue.declare", "queue.delete")) and values.get("queue"):
            self.queues.add(values["queue"])
        if method == "exchange.declare":
            self.exchanges.add(values["exchange"])

    def _sync(self, peer: Peer, channel: int, _: Reader) -> None:
        """A request without effect; its answer is swallowed, anything else stays for the next step."""
        declare = {"exchange": "amq.direct", "passive": 1}
        peer.wire.send(Frame(METHOD, channel, method_payload("exchange.declare", declare)))
        answer = method_payload("exchange.declare-ok", {})
        early: list[Frame] = []
        while True:
            frame = peer.wire.maybe_frame(5.0)
            if frame is None or (frame.type, frame.channel, frame.payload) == (1, channel, answer):
                break
            early.append(frame)
        peer.wire.buffer[:0] = b"".join(frame.encode() for frame in early)

    def _drain_queues(self, peer: Peer, channel: int, _: Reader) -> None:
        """Take every message from every queue that this section named: one line with their bodies."""
        words = ["drained"]
        for queue in sorted(self.queues):
            bodies = []
            while True:
                get = method_payload("basic.get", {"queue": queue, "no_ack": 1})
                peer.wire.send(Frame(METHOD, channel, get))
                line = self.maybe_line(peer, 5.0)
                if line is None or " | " not in line[1]:
                    break
                bodies.append(line[1].partition("body=")[2])
            if bodies:
                words.append(f"{show_text(queue)}=[{' '.join(bodies)}]")
        self.made.append((peer.label, channel, self._line(peer, f"ch{channel} {' '.join(words)}")))

    def _confirms(self, peer: Peer, channel: int, reader: Reader) -> None:
        """Wait until the publishes first-last are confirmed, however the broker groups them: one line."""
        first, _, last = reader.take_word().partition("-")
        left = set(range(int(first), int(last) + 1))
        settled: dict[str, set[int]] = {"ack": set(), "nack": set()}
        while left:
            frame = peer.wire.maybe_frame(5.0)
            if frame is None:
                break
            method, values = decode_method(frame.payload)
            tag = values["delivery_tag"]
            tags = left & (set(range(1, tag + 1)) if values["multiple"] else {tag})
            settled[method.name.removeprefix("basic.")] |= tags
            left -= tags
        words = ["confirmed"]
        words += [f"{kind}={show_ranges(tags)}" for kind, tags in settled.items() if tags]
        self.made.append((peer.label, channel, self._line(peer, f"ch{channel} {' '.join(words)}")))

    def _reopen(self, peer: Peer, channel: int, _: Reader) -> None:
        peer.wire.send(Frame(METHOD, channel, method_payload("channel.close-ok", {})))
        peer.wire.open_channel(channel)

    # -- what the broker answers

    def maybe_line(self, peer: Peer, timeout_seconds: float) -> tuple[int, str] | None:
        """(channel, S line) of the next thing that arrived whole, or None."""
        deadline = time.monotonic() + timeout_seconds
        while not peer.told_closed:
            left = max(0.0, deadline - time.monotonic())
            frame = peer.wire.maybe_frame(left)
            if frame is None and not peer.wire.closed:
                return None
            if frame is None:
                peer.told_closed = True
                return CLOSED_CHANNEL, self._line(peer, "closed")
            text = self._frame_text(peer, frame)
            if text is not None:
                return frame.channel, text
        return None

    def _line(self, peer: Peer, text: str) -> str:
        mark = f"S.{peer.label}" if peer.label else "S"
        return f"{mark} {self._normal(text)}"

    def _normal(self, text: str) -> str:
        """Replace generated names by placeholders, numbered in order of appearance."""
        for kind, pattern in GENERATED:
            text = pattern.sub(self._placeholder(kind), text)
        return re.sub(r'"(\$[a-z]+\d+)"', r"\1", text)

    def _placeholder(self, kind: str) -> Callable[[re.Match[str]], str]:
        def replace(found: re.Match[str]) -> str:
            for name, value in self.names.items():
                if value == found[0]:
                    return name
            count = sum(1 for name in self.names if name.startswith(f"${kind}"))
            self.names[f"${kind}{count + 1}"] = found[0]
            return f"${kind}{count + 1}"

        return replace

    def _frame_text(self, peer: Peer, frame: Frame) -> str | None:
        """The S line of a frame, or None when it is part of a content that is not complete."""
        if frame.type == -1:
            return self._line(peer, f"raw {frame.payload.hex()}")
        if frame.type == METHOD:
            return self._method_text(peer, frame)
        content = peer.partial.get(frame.channel)
        if frame.type == HEADER and content is not None:
            content.size, content.properties = decode_header(frame.payload)
        elif frame.type == BODY and content is not None:
            content.frames.append(frame.payload)
        else:
            kind = "heartbeat" if frame.type == HEARTBEAT else f"frame type={frame.type}"
            return self._line(peer, f"ch{frame.channel} {kind} {frame.payload.hex()}".rstrip())
        return self._content_text(peer, frame.channel, content)

    def _method_text(self, peer: Peer, frame: Frame) -> str | None:
        method, values = decode_method(frame.payload)
        self._note_names(method.name, values)
        peer.broker_closes |= method.name == "connection.close"
        peer.told_closed |= method.name == "connection.close-ok"
        if method.name in ("channel.close", "connection.close"):
            ids = values["class_id"], values["method_id"]
            failed = BY_ID[ids].name if ids in BY_ID else f"{ids[0]}.{ids[1]}"
            text = f"{values['reply_code']} {show_text(values['reply_text'])} ({failed})"
            return self._line(peer, f"ch{frame.channel} {method.name} {text}")
        if method.name == "connection.start":
            properties = values["server_properties"]
            for key, (letter, _) in properties.items():
                properties[key] = ("S", "$any") if letter == "S" else properties[key]
        kinds = dict(method.fields)
        pairs = [f"{n}={shown(kinds[n], v)}" for n, v in values.items() if n[0] != "_"]
        text = " ".join([f"ch{frame.channel}", method.name, *pairs])
        if method.name not in CONTENT_METHODS:
            return self._line(peer, text)
        peer.partial[frame.channel] = Content(text, -1, {}, [])
        return None

    def _content_text(self, peer: Peer, channel: int, content: Content) -> str | None:
        body = b"".join(content.frames)
        if len(body) < content.size:
            return None
        del peer.partial[channel]
        pairs = [f"{name}={shown(KINDS[name], v)}" for name, v in content.properties.items()]
        pairs.append(f"body={show_text(to_text(body))}")
        if len(content.frames) > 1:
            pairs.append(f"frames={len(content.frames)}")
        return self._line(peer, f"{content.line} | {' '.join(pairs)}")

    def drain(self, quiet_seconds: float) -> list[tuple[str, int, str]]:
        """(label, channel, S line) of all that arrives on any connection until nothing came for so long."""
        found, self.made = self.made, []
        busy = True
        while busy:
            busy = False
            for label, peer in self.peers.items():
                line = self.maybe_line(peer, quiet_seconds / max(1, len(self.peers)))
                if line is not None:
                    found.append((label, *line))
                    busy = True
        return found

    def await_lines(self, label: str, count: int, timeout_seconds: float) -> list[tuple[str, int, str]]:
        """Up to count lines of one connection; fewer when they do not come in time."""
        found, self.made = self.made, []
        while len(found) < count and label in self.peers:
            line = self.maybe_line(self.peers[label], timeout_seconds)
            if line is None:
                break
            found.append((label, *line))
        return found

    # -- the end of a section

    def finish(self) -> list[tuple[str, int, str]]:
        """Close every connection politely; what still arrived by then. Then delete what the section made."""
        found: list[tuple[str, int, str]] = []
        for peer in list(self.peers.values()):
            found += self._close_politely(peer)
            peer.wire.close()
        self.peers.clear()
        try:
            sweep(self.host, self.port, self.queues, self.exchanges)
        except AssertionError as error:
            found.append(("", CLOSED_CHANNEL, f"S !! while deleting what is left: {error}"))
        return found

    def _close_politely(self, peer: Peer) -> list[tuple[str, int, str]]:
        found: list[tuple[str, int, str]] = []
        if not peer.logged_in or peer.told_closed:
            return found
        if peer.broker_closes:
            peer.wire.send(Frame(METHOD, 0, method_payload("connection.close-ok", {})))
            return found
        peer.wire.send(Frame(METHOD, 0, method_payload("connection.close", {"reply_code": 200})))
        while True:
            line = self.maybe_line(peer, 2.0)
            if line is None or line[1].endswith("ch0 connection.close-ok"):
                return found
            found.append((peer.label, *line))


def sweep(host: str, port: int, queues: set[str], exchanges: set[str]) -> None:
    """Delete queues and exchanges on a connection of its own; those that must not be deleted are left."""
    wire = Wire(host, port)
    wire.login({})
    channel = 0
    requests = [("queue", name) for name in sorted(queues)]
    requests += [("exchange", name) for name in sorted(exchanges)]
    for kind, name in requests:
        for _ in range(50):
            channel += 1
            wire.open_channel(channel)
            payload = method_payload(f"{kind}.delete", {kind: name})
            wire.send(Frame(METHOD, channel, payload))
            frame = wire.maybe_frame(5.0)
            if frame is None:
                break
            method, values = decode_method(frame.payload)
            if values.get("reply_code") != 405:  # an exclusive queue whose connection is just going away
                break
            wire.send(Frame(METHOD, channel, method_payload("channel.close-ok", {})))
            time.sleep(0.02)
    wire.send(Frame(METHOD, 0, method_payload("connection.close", {"reply_code": 200})))
    wire.maybe_frame(2.0)
    wire.close()


def play(
    section: Section, host: str, port: int, on_mansio: bool, quiet_seconds: float | None = None
) -> list[list[str]]:
    """Play a section; the S lines that came back after each step.

    quiet_seconds None replays: each step waits until the lines that the transcript expects have arrived, and the
    play ends early when they do not come. Otherwise it records: each step waits until nothing came for so long.
    On RabbitMQ a step that expects nothing waits a moment, because its processes answer in no fixed order.
    """
    pace_seconds = 0.0 if on_mansio else 0.05
    session = Session(host, port)
    answers: list[list[str]] = []
    try:
        for step in section.steps:
            try:
                session.do(step.client)
            except (AssertionError, OSError) as error:
                answers.append([f"S !! {error}"])
                break
            if quiet_seconds is None:
                found, complete = gather_expected(
                    session, step.expected(on_mansio), pace_seconds
                )
            else:
                slow = step.client.startswith("C~")
                found, complete = session.drain(SLOW_SECONDS if slow else quiet_seconds), True
            answers.append([line for _, _, line in sorted(found, key=lambda item: item[:2])])
            if not complete:
                break
    finally:
        late = session.finish()
    if answers:
        answers[-1] += [line for _, _, line in late]
    return answers


def gather_expected(
    session: Session, expected: list[str], pace_seconds: float
) -> tuple[list[tuple[str, int, str]], bool]:
    """Wait for as many lines per connection as expected, then take what else is there; whether all came."""
    found: list[tuple[str, int, str]] = []
    wanted: dict[str, int] = {}
    for line in expected:
        label = line.partition(" ")[0].partition(".")[2]
        wanted[label] = wanted.get(label, 0) + 1
    for label, count in wanted.items():
        found += session.await_lines(label, count, REPLY_SECONDS)
    complete = len(found) >= len(expected)
    return found + session.drain(0.0 if expected else pace_seconds), complete
