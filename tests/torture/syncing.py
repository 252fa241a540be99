"""What is known to be durable, from what clients saw and when.

A *thing* is a change that a client asked for and that the log has to remember: an acknowledgement, a purge, a declare.
The journal's clock rises with every event, so "before" and "later" are those of the load process, which sees all
clients.

A *proof* is the confirm of a persistent message that went to a durable queue, or the commit-ok of a transaction that
changed something durable. Because there is one log, written in order, and a connection's frames are processed in
order, a proof whose publish (or tx.commit) was sent at clock P shows that a thing is *synced*

- if the thing was sent on the same connection before P, or
- if the thing was *processed* before P, on any connection: a reply came, before P, to a request that was sent behind
  the thing on the thing's connection (qos-ok, channel.close-ok, declare-ok, connection.close-ok).

The confirm of a transient or unroutable message proves nothing, nor does any other reply. With `reply_is_proof` those
to a change of exchanges, queues or bindings are proofs too: Mansio holds declare-ok, bind-ok, delete-ok … back until
the change is durable.

A thing that is processed but not synced can be undone by a crash only; one that is not processed also by the end of its
connection; one that is synced never.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.torture.ledger import Copy


@dataclass(slots=True, eq=False)
class Thing:
    """A change that somebody asked for. `incarnation`: of the broker that it was sent to; `tx`: its transaction."""

    connection: int
    clock: int
    incarnation: int
    tx: Tx | None = None
    processed: bool = False
    synced: bool = False


@dataclass(slots=True, eq=False)
class Tx:
    """A transaction: staged → asked (commit sent) → committed; or discarded; or, at the end, nobody knows.

    `proves`: it has something durable in it. `yes`, `no`: what shows that it was applied, and that it was not.
    """

    number: int
    connection: int
    incarnation: int
    clock: int = 0
    state: str = "staged"
    proves: bool = False
    thing: Thing | None = None
    copies: list[Copy] = field(default_factory=list)
    settled: list[Copy] = field(default_factory=list)
    yes: str = ""
    no: str = ""


class Syncing:
    """The rules above. `clock` is the number of the event at hand."""

    def __init__(self) -> None:
        self.clock = 0
        self._sent: dict[int, deque[Thing]] = {}  # by connection, not processed
        self._processed: deque[tuple[int, Thing]] = deque()  # (when it was known, what), not synced
        self._asked: dict[tuple[int, int], int] = {}  # (connection, question) -> when

    def sent(self, thing: Thing) -> None:
        """A thing went out on its connection."""
        self._sent.setdefault(thing.connection, deque()).append(thing)

    def asked(self, connection: int, question: int) -> None:
        """A request that will be answered went out."""
        self._asked[connection, question] = self.clock

    def answered(self, connection: int, question: int) -> None:
        """Its reply came: everything before it has been processed."""
        for thing in self._take(connection, self._asked.pop((connection, question))):
            thing.processed = True
            self._processed.append((self.clock, thing))

    def proved(self, connection: int, clock: int) -> None:
        """What was sent on a connection at `clock` is durable."""
        for thing in self._take(connection, clock):
            thing.processed = thing.synced = True
        while self._processed and self._processed[0][0] < clock:
            self._processed.popleft()[1].synced = True

    def ended(self, connection: int) -> None:
        """What has not been processed by now may never be."""
        self._sent.pop(connection, None)
        for key in [key for key in self._asked if key[0] == connection]:
            del self._asked[key]

    def stopped(self) -> None:
        """The broker stopped in order: what was processed is durable."""
        while self._processed:
            self._processed.popleft()[1].synced = True

    def restarted(self) -> None:
        """What was not synced may be gone, and no later proof says that it is not."""
        self._sent.clear()
        self._processed.clear()
        self._asked.clear()

    def _take(self, connection: int, before: int) -> list[Thing]:
        things = self._sent.get(connection)
        taken = []
        while things and things[0].clock < before:
            taken.append(things.popleft())
        return taken
