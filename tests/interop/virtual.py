"""A Mansio without sockets, on a clock that only `wait` moves: what needs time is replayed here without sleeping.

    place = VirtualBroker()
    wire = place.dial()
    wire.login({})
    place.wait(60_000)

Its turns are those of server/turn.py with a log that is durable at once: what a client has sent in one write is
applied, the turn ends, and what follows from it has arrived before the client goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mansio.core.broker import Broker
from mansio.protocol.amqp.connection import AmqpConnection
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.protocol.base import Peer
from tests.interop.operator import Operator
from tests.interop.wire import Wire
from tests.logins import AtOnce

START_MS = 1_700_000_000_000  # the Unix time at which every virtual broker starts
STEP_MS = 10
TURNS_MAX = 1000  # until a virtual broker must have nothing left to do


class VirtualBroker:
    """A broker, the wires that lead to it, and its clock."""

    def __init__(self) -> None:
        self.broker = Broker(letters=AmqpLetters(131_072))
        self.broker.now_ms = START_MS
        self.users = AtOnce(self.broker)
        self.announced: list[AmqpConnection] = []
        self.wires: dict[AmqpConnection, VirtualWire] = {}
        self._tickets = itertools.count(1)
        self._names = itertools.count(1)

    @property
    def now_ns(self) -> int:
        """The clock of the fronts: it starts with the broker."""
        return (self.broker.now_ms - START_MS) * 1_000_000

    def dial(self) -> Wire:
        """A new connection."""
        return VirtualWire(self)

    def wait(self, milliseconds: int) -> None:
        """Let time pass, in small steps: what is due may make something else due later."""
        until_ms = self.broker.now_ms + milliseconds
        while self.broker.now_ms < until_ms:
            self.broker.now_ms = min(self.broker.now_ms + STEP_MS, until_ms)
            self.turn()

    def now_seconds(self) -> int:
        """The broker's clock."""
        return self.broker.now_ms // 1000

    def control(self, words: Sequence[str]) -> None:
        """See `Place`."""
        Operator(self.broker).do(words)
        self.turn()

    def accept(self, wire: VirtualWire) -> AmqpConnection:
        """The front of a wire."""
        peer = Peer(f"127.0.0.1:{len(self.wires) + 1} -> 127.0.0.1:5672", loopback=True)
        front = AmqpConnection(
            self.broker, self.users, peer, self._name, self.announced, self.now_ns
        )
        self.wires[front] = wire
        return front

    def turn(self) -> None:
        """End turns until nothing is left to do."""
        for _ in range(TURNS_MAX):
            journal = self.broker.journal
            records = self.broker.end_turn()
            ticket = next(self._tickets)
            if records:
                journal.placed(ticket, 1, [(owner, ticket, 0, 1) for _, owner in journal.owners])
            self.broker.seal(ticket)
            self.broker.durable(ticket)
            self._write()
            if not (self.broker.dispatcher.dirty or self.broker.unfinished):
                return
        raise AssertionError(f"there is still something to do after {TURNS_MAX} turns")

    def _write(self) -> None:
        for front in self.announced:
            data = b"".join(front.data_to_send())
            self.wires[front].arrived += data
            if front.session is not None and not front.gated:
                self.broker.grant(front.session)
        self.announced.clear()

    def _name(self) -> str:
        """A name part that is as long as a server's random ones."""
        return f"virtual{next(self._names):015}"


class VirtualWire(Wire):
    """One connection to a virtual broker."""

    def __init__(self, place: VirtualBroker) -> None:
        self.begin()
        self.place = place
        self.arrived = b""
        self.front = place.accept(self)

    def send_raw(self, raw: bytes) -> None:
        """The broker reads it at once; one that has closed the connection does not."""
        if not self.front.closed:
            self.front.receive_data(raw, self.place.now_ns)
            self.place.turn()

    def maybe_received(self, timeout_seconds: float) -> bytes | None:
        """What has arrived; waiting brings nothing."""
        arrived, self.arrived = self.arrived, b""
        return arrived if arrived or self.front.closed else None

    def close(self) -> None:
        """The client disappears."""
        self.front.receive_eof()
        self.place.turn()
