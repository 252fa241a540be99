"""Who puts tasks, and who calls: raw DEALERs with many requests under way, and REQs of libzmq that ask again."""

from __future__ import annotations

import threading
from random import Random
from typing import Final

from tests.torture.zmq_ledger import Ledger
from tests.torture.zmq_pirates import Fleet, Pirate, Stopped
from tests.torture.zmq_tasks import CALL, PUT, TRANSIENT, frames_of
from tests.torture.zmq_wire import RawPeer

WINDOWS: Final = (1, 10, 50, 200)
CALL_WINDOWS: Final = (1, 5, 50)
TIMEOUTS_MS: Final = (b"200", b"1000", b"5000", b"30000")
PATIENCE_S: Final = (0.3, 1.0, 3.0)
LEAVE_SHARE: Final = 0.01
"""How often a client leaves in the middle, and comes again."""
PAUSE: Final = threading.Event()
"""Never set: a pause that is of no use to be right."""


def put_request(rng: Random, kind: bytes, queue: bytes, name: bytes) -> list[bytes]:
    """The frames of a PUT: with properties, if it needs some, or by chance."""
    first, *others = frames_of(name)
    properties = b""
    if kind == TRANSIENT:
        properties = b'{"delivery_mode": 1}'
    elif rng.random() < 0.2:
        properties = b'{"message_id": "%b"}' % name
    elif rng.random() < 0.2:
        properties = b'{"type": "torture"}'
    return [b"PUT", queue, first, *([properties, *others] if properties or others else [])]


def draw_kind(rng: Random) -> bytes:
    """Of a PUT."""
    return TRANSIENT if rng.random() < 0.05 else PUT


class Producers:
    """They put into one queue, until the broker is gone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def window(self, port: int, seed: str) -> None:
        """DEALERs that wait for 200 only when so many requests are under way."""
        rng = Random(seed)
        try:
            while True:
                self._connection(RawPeer(port), rng)
        except OSError:
            return

    def _connection(self, peer: RawPeer, rng: Random) -> None:
        ledger = self._ledger
        producer, number = ledger.producer(), 0
        window = rng.choice(WINDOWS)
        under_way: dict[bytes, bytes] = {}
        try:
            while rng.random() > LEAVE_SHARE:
                messages = []
                for _ in range(rng.randrange(window) + 1):
                    kind = draw_kind(rng)
                    name = ledger.sending(kind, producer, number)
                    envelope = b"%d" % number
                    under_way[envelope] = name
                    messages.append([envelope, b"", *put_request(rng, kind, ledger.key, name)])
                    number += 1
                peer.send(*messages)
                while len(under_way) >= window or ledger.depth > ledger.depth_max:
                    if under_way:
                        envelope, empty, *reply = peer.receive()
                        assert empty == b""
                        ledger.put(under_way.pop(envelope), reply)
                    else:
                        peer.ask(b"PING")
                        PAUSE.wait(0.01)
        finally:
            peer.close()

    def pirate(self, fleet: Fleet, seed: str) -> None:
        """A REQ that puts one by one, through the ends of brokers; what was not answered it puts once more, as another
        task."""
        rng = Random(seed)
        ledger = self._ledger
        producer, number = ledger.producer(), 0
        try:
            with Pirate(fleet) as pirate:
                while True:
                    if ledger.depth > ledger.depth_max:
                        PAUSE.wait(0.02)
                        if pirate.ask(1.0, b"PING") is None:
                            pirate.hang_up()
                        continue
                    kind = draw_kind(rng)
                    name = ledger.sending(kind, producer, number)
                    number += 1
                    request = put_request(rng, kind, ledger.key, name)
                    reply = pirate.ask(rng.choice(PATIENCE_S), *request)
                    if reply is None:
                        pirate.hang_up()
                    else:
                        ledger.put(name, reply)
        except Stopped:
            return


class Callers:
    """They call by one queue, until the broker is gone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def window(self, port: int, seed: str) -> None:
        """DEALERs with several calls under way; each has one reply, whenever it comes."""
        rng = Random(seed)
        try:
            while True:
                self._connection(RawPeer(port), rng)
        except OSError:
            return

    def _connection(self, peer: RawPeer, rng: Random) -> None:
        ledger = self._ledger
        producer, number = ledger.producer(), 0
        window = rng.choice(CALL_WINDOWS)
        under_way = 0
        try:
            while rng.random() > LEAVE_SHARE:
                messages = []
                for _ in range(rng.randrange(window - under_way) + 1):
                    name = ledger.sending(CALL, producer, number)
                    number += 1
                    messages.append([name, b"", *call_request(rng, ledger.key, name)])
                peer.send(*messages)
                under_way += len(messages)
                while under_way >= window or peer.has_message():
                    name, empty, *reply = peer.receive()
                    assert empty == b""
                    under_way -= ledger.called(name, reply)
        finally:
            peer.close()

    def pirate(self, fleet: Fleet, seed: str) -> None:
        """A REQ that calls one by one, through the ends of brokers; what was not answered it calls once more, as
        another task."""
        rng = Random(seed)
        ledger = self._ledger
        producer, number = ledger.producer(), 0
        try:
            with Pirate(fleet) as pirate:
                while True:
                    name = ledger.sending(CALL, producer, number)
                    number += 1
                    request = call_request(rng, ledger.key, name)
                    reply = pirate.ask(rng.choice(PATIENCE_S), *request)
                    if reply is None:
                        pirate.hang_up()
                    else:
                        ledger.called(name, reply)
        except Stopped:
            return


def call_request(rng: Random, queue: bytes, name: bytes) -> list[bytes]:
    """The frames of a CALL."""
    first, *others = frames_of(name)
    return [b"CALL", queue, rng.choice(TIMEOUTS_MS), first, *([b"", *others] if others else [])]
