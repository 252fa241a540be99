"""Who works: raw DEALERs with several tasks at once by GET, ACK, NACK and NEXT, and REQs of libzmq by NEXT."""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from tests.torture.zmq_ledger import Held, Ledger
from tests.torture.zmq_pirates import Fleet, Pirate, Stopped
from tests.torture.zmq_tasks import CALL, result_of
from tests.torture.zmq_wire import RawPeer

SEATS: Final = (1, 3, 20)
LEASES_MAX: Final = 30
WAITS_MS: Final = (b"", b"0", b"50", b"5000")
PATIENCE_S: Final = (0.3, 1.0, 3.0)
STAYS: Final = (5, 300, 100_000)
"""How many requests a worker makes before it leaves, with what it holds."""
ACKS_ALONE, NEXTS, ACKS, REJECTS, REQUEUES = 5, 40, 40, 1, 4
"""What is done with a task: weights."""


class Lease(NamedTuple):
    """A task that a worker has. `epoch`: of the ledger."""

    name: bytes
    tag: bytes
    epoch: int


class Desk:
    """One connection's tasks. Requests that are under way: by envelope, the verb and the lease that it is about."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.held = Held()
        self.leases: list[Lease] = []
        self.under_way: dict[bytes, tuple[bytes, Lease | None]] = {}

    def heard(self, verb: bytes, lease: Lease | None, reply: list[bytes]) -> None:
        """A reply to a request."""
        ledger, status = self.ledger, reply[0]
        if status == b"410" and lease is not None:
            ledger.unknown(lease.name, lease.epoch)
            return
        if status == b"204" and verb == b"GET":
            return
        if status != b"200":
            ledger.complain(f"STATUS: {verb!r}: {reply!r:.200}")
            return
        if lease is not None and verb in (b"ACK", b"NEXT"):
            ledger.acked(lease.name, verb)
        if verb in (b"GET", b"NEXT"):
            _, tag, redelivered, first, _, *others = reply
            name = ledger.received(self.held, [first, *others], redelivered)
            if name is not None:
                self.leases.append(Lease(name, tag, ledger.epoch))

    def leave(self) -> None:
        """All that it holds goes back: before the connection is closed."""
        self.ledger.released([lease.name for lease in self.leases])


def settlement(rng: Random, ledger: Ledger, lease: Lease, verb: bytes) -> list[bytes]:
    """The frames of a request that settles a task; the ledger is told."""
    name, tag, _ = lease
    if verb == b"NACK":
        requeue = rng.choices((True, False), (REQUEUES, REJECTS))[0]
        if requeue:
            ledger.released([name])
        else:
            ledger.settling(name, reject=True)
        return [verb, tag, b"1" if requeue else b"0"]
    ledger.settling(name)
    result = result_of(name) if name[:1] == CALL or rng.random() < 0.2 else []
    return [verb, *([ledger.key] if verb == b"NEXT" else []), tag, *result]


class Workers:
    """They work for one queue, until the broker is gone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def seats(self, port: int, seed: str) -> None:
        """DEALERs that ask for several tasks at once and settle them in any order."""
        rng = Random(seed)
        try:
            while True:
                self._connection(RawPeer(port), rng)
        except OSError:
            return

    def _connection(self, peer: RawPeer, rng: Random) -> None:
        ledger = self._ledger
        desk = Desk(ledger)
        seats = rng.choice(SEATS)
        number = 0
        stays = rng.choice(STAYS)
        try:
            while number < stays:
                messages: list[list[bytes]] = []
                while len(desk.under_way) < seats:
                    number += 1
                    envelope = b"%d" % number
                    request, lease = self._request(rng, desk)
                    desk.under_way[envelope] = request[0], lease
                    messages.append([envelope, b"", *request])
                peer.send(*messages)
                while len(desk.under_way) >= seats or peer.has_message():
                    envelope, empty, *reply = peer.receive()
                    assert empty == b""
                    desk.heard(*desk.under_way.pop(envelope), reply)
        finally:
            desk.leave()
            peer.close()

    def _request(self, rng: Random, desk: Desk) -> tuple[list[bytes], Lease | None]:
        ledger = self._ledger
        leases = desk.leases
        if not leases or (len(leases) < LEASES_MAX and rng.random() < 0.5):
            if rng.random() < 0.3:
                return [b"NEXT", ledger.key], None
            return [b"GET", ledger.key, rng.choice(WAITS_MS)], None
        lease = leases.pop(rng.randrange(len(leases)))
        verbs = (b"NEXT", b"ACK", b"NACK")
        verb = rng.choices(verbs, (NEXTS, ACKS, REJECTS + REQUEUES))[0]
        request = settlement(rng, ledger, lease, verb)
        return request, lease if verb != b"NACK" or request[-1] == b"0" else None

    def pirate(self, fleet: Fleet, seed: str) -> None:
        """A REQ that works by NEXT, one task at a time, through the ends of brokers."""
        rng = Random(seed)
        try:
            with Pirate(fleet) as pirate:
                while True:
                    self._pirate(pirate, rng)
                    pirate.hang_up()
        except Stopped:
            return

    def _pirate(self, pirate: Pirate, rng: Random) -> None:
        """One socket, until it is not answered in time."""
        ledger = self._ledger
        desk = Desk(ledger)
        try:
            while True:
                request, lease = [b"NEXT", ledger.key], None
                if desk.leases:
                    lease = desk.leases.pop()
                    request = settlement(rng, ledger, lease, b"NEXT")
                reply = pirate.ask(rng.choice(PATIENCE_S), *request)
                if reply is None:
                    return
                desk.heard(b"NEXT", lease, reply)
        finally:
            desk.leave()
