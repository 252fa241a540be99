"""The connections of one section of a transcript, and what its C lines do (notation: transcript.py)."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

from tests.interop.control import take_options
from tests.interop.listener import CLOSED_CHANNEL, KINDS, Heard, Listener, Names
from tests.interop.methods import BY_NAME
from tests.interop.place import Place
from tests.interop.values import Reader, Table, show_text, to_bytes
from tests.interop.wire import (
    BODY,
    HEADER,
    HEARTBEAT,
    METHOD,
    Frame,
    Wire,
    content_frames,
    decode_method,
    header_payload,
    method_payload,
)

ANSWER_SECONDS_MAX = 5.0
NOW = "$now"


class Client(Listener):
    """One connection of a section."""

    def __init__(self, wire: Wire, label: str, names: Names, queues: set[str]) -> None:
        super().__init__(wire, label, names, queues)
        self.held = b""  # C+ lines that wait for the next one
        self.logged_in = False

    def flush(self, raw: bytes, hold: bool = False) -> None:
        """Send, behind what was held back, or hold back."""
        self.held += raw
        if not hold:
            self.wire.send_raw(self.held)
            self.held = b""

    def send_method(self, channel: int, name: str, **values: Any) -> None:
        """Send one method at once."""
        self.flush(Frame(METHOD, channel, method_payload(name, values)).encode())


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


def take_pairs(reader: Reader, kinds: dict[str, str]) -> dict[str, Any]:
    """`name=value` pairs up to the end of the line or a bar; kinds are those of methods.TABLE."""
    values: dict[str, Any] = {}
    while not reader.at_end() and reader.line[reader.pos] != "|":
        name = reader.take_word()
        if name not in kinds or not reader.skip("="):
            raise ValueError(f"no field {name!r} here: {reader.line}")
        if kinds[name] == "F":
            values[name] = reader.take_value()[1]
        elif kinds[name] in "sS":
            values[name] = reader.take_text()
        else:
            values[name] = int(reader.take_word())
    return values


class Session:
    """Carries out C lines and collects S lines."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.clients: dict[str, Client] = {}
        self.names = Names()
        self.queues: set[str] = set()
        self.exchanges: set[str] = set()
        self.operated: list[list[str]] = []  # commands of operators
        self.made: list[Heard] = []  # lines that `drain` and `confirms` made

    def do(self, line: str) -> None:
        """Carry out one C line; raises ValueError for a line that cannot be read."""
        head, _, rest = line.partition(" ")
        label = head.partition(".")[2]
        self.names.known[NOW] = str(self.place.now_seconds())
        reader = Reader(rest, self.names.known)
        word = reader.take_word()
        if word == "ctl":
            self._operate(shlex.split(rest)[1:])
        elif word == "wait":
            self.place.wait(int(reader.take_word()))
        elif word in ("connect", "login"):
            self._connect(label, word, reader)
        elif word == "close":
            self.clients.pop(label).wire.close()
        elif word == "raw":
            raw = bytes.fromhex("".join(rest[reader.pos :].split()))
            self.clients[label].flush(raw, hold=head.startswith("C+"))
        else:
            channel = int(word.removeprefix("ch"))
            self._on_channel(self.clients[label], channel, reader, head.startswith("C+"))

    def _operate(self, words: list[str]) -> None:
        self.operated.append(words)
        self.place.control(words)

    def _connect(self, label: str, word: str, reader: Reader) -> None:
        client = Client(self.place.dial(), label, self.names, self.queues)
        self.clients[label] = client
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
        client.wire.login(options)
        client.logged_in = word == "login"
        for channel in channels:
            client.wire.open_channel(channel)

    def _on_channel(self, client: Client, channel: int, reader: Reader, hold: bool) -> None:
        macros = {
            "sync": self._sync,
            "reopen": self._reopen,
            "drain": self._drain_queues,
            "confirms": self._confirms,
        }
        verb = reader.take_word()
        if verb not in macros:
            client.flush(self._encode(client, channel, verb, reader), hold)
            return
        client.flush(b"")
        macros[verb](client, channel, reader)

    def _encode(self, client: Client, channel: int, verb: str, reader: Reader) -> bytes:
        """Bytes of the frames of one C line."""
        if verb == "heartbeat":
            return Frame(HEARTBEAT, channel, b"").encode()
        if verb == "body":
            return Frame(BODY, channel, to_bytes(reader.take_text())).encode()
        if verb == "frame":
            given = take_pairs(reader, {"type": "o", "payload": "S", "end": "o"})
            frame = Frame(given["type"], channel, to_bytes(given.get("payload", "")))
            return frame.encode(given.get("end", 0xCE))
        if verb == "header":
            given = take_pairs(reader, KINDS | {"size": "L", "class": "h", "weight": "h"})
            numbers = (given.pop("size"), given.pop("class", 60), given.pop("weight", 0))
            payload = header_payload(numbers[0], given, numbers[1], numbers[2])
            return Frame(HEADER, channel, payload).encode()
        client.agreed |= verb == "connection.close-ok"
        values = take_pairs(reader, dict(BY_NAME[verb].fields))
        self._note_names(verb, values)
        frames = [Frame(METHOD, channel, method_payload(verb, values))]
        if reader.skip("|"):
            properties = take_pairs(reader, KINDS | {"body": "S"})
            body = to_bytes(properties.pop("body", ""))
            header = header_payload(len(body), properties)
            frames += content_frames(channel, body, client.wire.frame_max, header)
        return b"".join(frame.encode() for frame in frames)

    def _note_names(self, method: str, values: dict[str, Any]) -> None:
        """Remember what a section may leave behind."""
        queue = values.get("queue", "")
        if method == "queue.declare" and queue.isprintable() and queue:
            self.queues.add(queue)
        if method == "exchange.declare":
            self.exchanges.add(values["exchange"])

    # -- macros

    def _sync(self, client: Client, channel: int, _: Reader) -> None:
        """A request without effect; its answer is swallowed, anything else stays for later."""
        client.send_method(channel, "exchange.declare", exchange="amq.direct", passive=1)
        answer = Frame(METHOD, channel, method_payload("exchange.declare-ok", {}))
        early: list[Frame] = []
        while True:
            frame = client.wire.maybe_frame(ANSWER_SECONDS_MAX)
            if frame is None or frame == answer:
                break
            early.append(frame)
        client.wire.buffer[:0] = b"".join(frame.encode() for frame in early)

    def _reopen(self, client: Client, channel: int, _: Reader) -> None:
        client.send_method(channel, "channel.close-ok")
        client.wire.open_channel(channel)

    def _drain_queues(self, client: Client, channel: int, _: Reader) -> None:
        """Take every message from every queue that this section named: one line with their bodies."""
        words = [f"ch{channel} drained"]
        for queue in sorted(self.queues):
            bodies = []
            while True:
                client.send_method(channel, "basic.get", queue=queue, no_ack=1)
                heard = client.maybe_heard(ANSWER_SECONDS_MAX)
                if heard is None or " | " not in heard.line:
                    break
                bodies.append(heard.line.partition("body=")[2])
            if bodies:
                words.append(f"{show_text(queue)}=[{' '.join(bodies)}]")
        self.made.append(client.heard(channel, " ".join(words)))

    def _confirms(self, client: Client, channel: int, reader: Reader) -> None:
        """Wait until the publishes first-last are confirmed, however they are grouped: one line."""
        first, _, last = reader.take_word().partition("-")
        left = set(range(int(first), int(last) + 1))
        settled: dict[str, set[int]] = {"basic.ack": set(), "basic.nack": set()}
        while left:
            frame = client.wire.maybe_frame(ANSWER_SECONDS_MAX)
            if frame is None:
                break
            method, values = decode_method(frame.payload)
            tag = values["delivery_tag"]
            tags = left & (set(range(1, tag + 1)) if values["multiple"] else {tag})
            settled[method.name] |= tags
            left -= tags
        words = [f"ch{channel} confirmed"]
        words += [f"{kind[6:]}={show_ranges(tags)}" for kind, tags in settled.items() if tags]
        self.made.append(client.heard(channel, " ".join(words)))

    # -- what came back

    def hear_all(self, quiet_seconds: float) -> list[Heard]:
        """All that arrives on any connection until nothing came for so long."""
        found, self.made = self.made, []
        busy = True
        while busy:
            busy = False
            for client in self.clients.values():
                heard = client.maybe_heard(quiet_seconds / len(self.clients))
                if heard is not None:
                    found.append(heard)
                    busy = True
        return found

    def hear(self, label: str, count: int, timeout_seconds: float) -> list[Heard]:
        """Up to count lines of one connection; fewer when they do not come in time."""
        found, self.made = self.made, []
        while len(found) < count and label in self.clients:
            heard = self.clients[label].maybe_heard(timeout_seconds)
            if heard is None:
                break
            found.append(heard)
        return found

    def finish(self) -> list[Heard]:
        """Close every connection politely; what still arrived by then. Then delete what is left."""
        found: list[Heard] = []
        for client in self.clients.values():
            found += close_politely(client)
            client.wire.close()
        self.clients.clear()
        try:
            sweep(self.place, self.queues, self.exchanges)
            undo(self.place, self.operated)
        except AssertionError as error:
            found.append(Heard("", CLOSED_CHANNEL, f"S !! while deleting what is left: {error}"))
        return found


def close_politely(client: Client) -> list[Heard]:
    """connection.close and its answer, or the answer to the broker's; what came before it."""
    found: list[Heard] = []
    if not client.logged_in or client.finished:
        return found
    if client.broker_closes:
        client.send_method(0, "connection.close-ok")
        return found
    client.send_method(0, "connection.close", reply_code=200)
    while True:
        heard = client.maybe_heard(2.0)
        if heard is None or heard.line.endswith("ch0 connection.close-ok"):
            return found
        found.append(heard)


def sweep(place: Place, queues: set[str], exchanges: set[str]) -> None:
    """Delete queues and exchanges on a connection of its own; what must not be deleted is left."""
    client = Client(place.dial(), "", Names(), set())
    client.wire.login({})
    requests = [("queue", name) for name in sorted(queues)]
    requests += [("exchange", name) for name in sorted(exchanges)]
    for kind, name in requests:
        for _ in range(50):
            client.wire.open_channel(1)
            client.send_method(1, f"{kind}.delete", **{kind: name})
            heard = client.maybe_heard(ANSWER_SECONDS_MAX)
            refused = heard is not None and "channel.close" in heard.line
            client.send_method(1, "channel.close-ok" if refused else "channel.close")
            if not refused:
                client.wire.expect("channel.close-ok")
            if heard is None or " 405 " not in heard.line:
                break
            place.wait(20)  # an exclusive queue whose connection is just going away
    close_politely(client)
    client.wire.close()


def undo(place: Place, operated: list[list[str]]) -> None:
    """Take back what a section had operators do; what is gone already stays so."""
    for verb, *words in reversed(operated):
        given, plain = take_options(words, {"-p": "/", "--priority": "", "--apply-to": ""})
        if verb in ("add_user", "add_vhost"):
            back = [f"delete_{verb[4:]}", plain[0]]
        elif verb in ("set_policy", "set_operator_policy"):
            back = [f"clear_{verb[4:]}", "-p", given["-p"], plain[0]]
        else:
            continue
        with contextlib.suppress(AssertionError):
            place.control(back)
