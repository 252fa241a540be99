"""The judge: hears what clients did and saw, in order, and says what a durable broker must not have done.

Every public method but `check` is an event of the journal (journal.py). Clients write an event *before* they send, and
*after* they have received. What is demanded:

LOST       a message that was confirmed, was in a transaction that was committed, or has survived a restart, and that
           nobody asked to settle since, is there at every look (`counted`) and comes out of every drain (`drained`).
BACK       a message does not come back once its settlement is synced (syncing.py says when that is known), nor while
           the connection that settled it lives, nor after a drain has found its queue empty; a transient one does not
           come back after a restart.
FLAG       a message that was received before comes with redelivered set, whatever happened in between.
ORDER      first deliveries (redelivered not set) of one publisher and queue come in the order of publishing: to each
           consumer, and not behind what anyone had received before that consumer began. On a drain after a restart this
           holds for all deliveries.
TWICE      a message is not delivered while somebody holds it.
NOWHERE    what is received was sent, to this queue, and not in a transaction that was rolled back or not yet committed.
DAMAGED    it has the size and check sum that were sent.
TORN       of a transaction all is done or nothing, also where commit-ok did not come.
TOPOLOGY   queues, exchanges and bindings are as they were after some prefix of the changes, at least the synced ones.
COUNT      a queue is not longer than what may be in it.

Settlements are acks, rejects without requeue, purges, and deletes of the queue. What is demanded of streams and groups
beside this is in stream_oracle.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.torture.facts import Change, Facts
from tests.torture.ledger import Copy, QueueLedger, Reader
from tests.torture.stream_ledger import make_ledgers
from tests.torture.syncing import Syncing, Thing, Tx
from tests.torture.topology import INDEX, names, queue_entity

Sent = tuple[int, int, bool, int, int]
"""(number, set of queues, persistent, size, check sum)"""
Received = tuple[int, int, bool, int, int]
"""(publisher, number, redelivered, size, check sum)"""
Key = tuple[int, int]
"""(publisher, number)"""
FINDINGS_MAX = 50


@dataclass(slots=True, eq=False)
class Publisher:
    """A channel that publishes. `pending`: by number, when it was sent, its copies, and whether its confirm proves."""

    connection: int
    confirms: bool
    pending: dict[int, tuple[int, list[Copy], bool]] = field(default_factory=dict)


class Oracle:
    """See the top of this file. `findings`: what was wrong; `counts`: what happened."""

    def __init__(self, reply_is_proof: bool = False) -> None:
        self.findings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.incarnation = 0
        self._reply_is_proof = reply_is_proof
        self._crashed = False
        self._stopping = False
        self._syncing = Syncing()
        self._facts = Facts()
        self._changes: dict[int, Thing] = {}
        self._queues = make_ledgers()
        self._publishers: dict[int, Publisher] = {}
        self._readers: dict[int, Reader] = {}
        self._alive: set[int] = set()
        self._held: dict[int, set[Copy]] = {}
        self._txs: dict[int, Tx] = {}
        self._horizon = 0

    def apply(self, event: Sequence[object]) -> None:
        """One event of a journal: the name of a method and its arguments."""
        name, *arguments = event
        self._syncing.clock += 1
        getattr(self, str(name))(*arguments)

    def _fail(self, kind: str, text: str) -> None:
        self.counts["findings"] += 1
        self.counts[kind] += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(f"{kind}: {text}")

    # -- brokers and connections

    def started(self, incarnation: int, crashed: bool) -> None:
        """A broker serves. `crashed`: the one before did not stop in order."""
        self.incarnation = incarnation
        self._crashed = crashed
        self._stopping = False
        for connection in list(self._alive):
            self.ended(connection)
        if not crashed:
            self._syncing.stopped()
        self._syncing.restarted()
        self._readers.clear()

    def stopping(self) -> None:
        """The broker was told to stop: from now on it may give up connections before their clients notice."""
        self._stopping = True

    def opened(self, connection: int) -> None:
        """A connection is there."""
        self._alive.add(connection)
        self.counts["connections"] += 1

    def ended(self, connection: int) -> None:
        """A connection is over: closed by the client, cut, or lost. What it held is requeued."""
        self._alive.discard(connection)
        self._syncing.ended(connection)
        for copy in self._held.pop(connection, ()):
            copy.holder = 0
        for tx in self._txs.values():
            if tx.connection == connection and tx.state == "staged":
                self._discard(tx)

    def asked(self, connection: int, question: int) -> None:
        """A request was sent whose reply will show that everything before it was processed."""
        self._syncing.asked(connection, question)

    def answered(self, connection: int, question: int) -> None:
        """The reply came."""
        self._syncing.answered(connection, question)

    # -- publishing

    def publisher(self, connection: int, publisher: int, confirms: bool) -> None:
        """A channel will publish; numbers count from 1, as delivery tags do."""
        self._publishers[publisher] = Publisher(connection, confirms)

    def sent(self, publisher: int, tx: int, messages: Sequence[Sent]) -> None:
        """Messages were sent, in transaction `tx` if that is not 0."""
        owner = self._publishers[publisher]
        transaction = self._tx(tx, owner.connection) if tx else None
        self.counts["sent"] += len(messages)
        for number, queues, persistent, size, crc in messages:
            copies = []
            for queue in names(queues):
                ledger = self._queues[INDEX[queue]]
                stays = persistent or ledger.keeps
                copy = Copy(publisher, number, INDEX[queue], size, crc, stays, self.incarnation)
                copy.tx = transaction
                ledger.copies[publisher, number] = copy
                copies.append(copy)
            if owner.confirms:
                proves = persistent and queues != 0
                owner.pending[number] = (self._syncing.clock, copies, proves)
            if transaction is not None:
                transaction.copies += copies
                transaction.proves |= persistent and queues != 0

    def returned(self, publisher: int, number: int) -> None:
        """A mandatory message led to no queue."""
        clock, copies, _ = self._publishers[publisher].pending[number]
        for copy in copies:
            del self._queues[copy.queue].copies[publisher, number]
        self._publishers[publisher].pending[number] = (clock, [], False)

    def confirmed(self, publisher: int, tag: int, multiple: bool, ok: bool) -> None:
        """basic.ack or basic.nack from the broker."""
        owner = self._publishers[publisher]
        numbers = [n for n in owner.pending if n <= tag] if multiple else [tag]
        proof = 0
        for number in numbers:
            found = owner.pending.pop(number, None)
            if found is None:
                self._fail("NOWHERE", f"confirm of {publisher}/{number}, which awaits none")
                continue
            clock, copies, proves = found
            self.counts["confirmed" if ok else "refused"] += 1
            if ok:
                proof = max(proof, clock if proves else 0)
                for copy in copies:
                    copy.confirmed = True
        if proof:
            self._syncing.proved(owner.connection, proof)

    # -- consuming

    def consuming(self, connection: int, reader: int, queue: str, strict: bool) -> None:
        """basic.consume, or the first basic.get of a queue, is about to be sent."""
        index = INDEX[queue]
        floor = dict(self._queues[index].highest)
        self._readers[reader] = Reader(connection, index, strict, floor)

    def received(self, reader: int, messages: Sequence[Received]) -> None:
        """Messages came."""
        source = self._readers[reader]
        ledger = self._queues[source.queue]
        self.counts["received"] += len(messages)
        for publisher, number, redelivered, size, crc in messages:
            copy = ledger.copies.get((publisher, number))
            if copy is None:
                kind = "BACK" if 0 < publisher < self._horizon else "NOWHERE"
                self._fail(kind, f"{ledger.name} gave {publisher}/{number}, {size} bytes")
                continue
            if (size, crc) != (copy.size, copy.crc):
                self._fail("DAMAGED", f"{ledger.name}: {copy} came with {size} bytes, crc {crc}")
            self._judge(source, ledger, copy, (publisher, number), redelivered)

    def _judge(
        self, source: Reader, ledger: QueueLedger, copy: Copy, place: Key, redelivered: bool
    ) -> None:
        """Is this delivery allowed? Takes note of it. `place`: what has an order with whom, and where in it it is."""
        where = f"{ledger.name}, broker {self.incarnation}: {copy}"
        if not copy.persistent and copy.incarnation != self.incarnation:
            self._fail("BACK", f"{where} outlived broker {copy.incarnation}")
        if copy.tx is not None and copy.tx.state in ("staged", "discarded"):
            self._fail("NOWHERE", f"{where} is of transaction {copy.tx.number}, {copy.tx.state}")
        if copy.settled is not None:
            self._unsettle(where, copy, copy.settled)
        if copy.holder:
            self._fail("TWICE", f"{where} is held by connection {copy.holder}")
            self._held[copy.holder].discard(copy)
        if copy.received and not redelivered:
            self._fail("FLAG", f"{where} was received by broker {copy.received}'s consumers")
        if not source.in_order(*place, redelivered):
            self._fail("ORDER", f"{where} came behind a later one")
        if redelivered:
            self.counts["redelivered"] += 1
        if copy.persistent and self.incarnation > copy.incarnation:
            self._survived(ledger, copy)
        ledger.highest[place[0]] = max(place[1], ledger.highest.get(place[0], 0))
        copy.received = self.incarnation
        copy.holder = source.connection
        self._held.setdefault(source.connection, set()).add(copy)

    def _survived(self, ledger: QueueLedger, copy: Copy) -> None:
        """It came out of the log, so it is durable, and so is all of its transaction."""
        copy.confirmed = True
        tx = copy.tx
        if tx is not None and tx.state == "asked":
            tx.yes = f"{copy} came from {ledger.name}"
            self.counts["transactions in doubt, found done"] += 1
            self._done(tx)

    def _unsettle(self, where: str, copy: Copy, thing: Thing) -> None:
        """A message came back whose settlement was asked for."""
        same = thing.incarnation == self.incarnation
        if thing.synced:
            self._fail("BACK", f"{where} had been settled, and that was durable")
        elif same and (thing.processed or (thing.connection in self._alive and not self._stopping)):
            self._fail("BACK", f"{where} had been settled by connection {thing.connection}")
        else:
            self.counts["settlements undone"] += 1
        if thing.tx is not None:
            thing.tx.no = thing.tx.no or f"{copy}, which it acknowledged, came back"
        copy.settled = None

    # -- settling

    def settled(self, connection: int, tx: int, queue: str, keys: Sequence[Key]) -> None:
        """Acks or rejects of messages that this connection holds were sent, in a transaction if `tx` is not 0."""
        self.counts["settled"] += len(keys)
        if tx:
            transaction = self._tx(tx, connection)
            transaction.settled += self._copies(queue, keys)
        else:
            self._settle(self._copies(queue, keys), self._thing(connection))

    def requeued(self, connection: int, queue: str, keys: Sequence[Key]) -> None:
        """Messages were given back, or their channel was closed."""
        self.counts["requeued"] += len(keys)
        for copy in self._copies(queue, keys):
            self._release(copy)

    def purged(self, connection: int, queue: str) -> None:
        """queue.purge was sent by the only client of a queue: all goes that nobody holds."""
        ledger = self._queues[INDEX[queue]]
        if not ledger.loose:
            self._settle(ledger.ready(self.incarnation), self._thing(connection))

    def _settle(self, copies: list[Copy], thing: Thing) -> None:
        for copy in copies:
            if copy.settled is None:
                copy.settled = thing
            self._release(copy)

    def _release(self, copy: Copy) -> None:
        if copy.holder:
            self._held[copy.holder].discard(copy)
            copy.holder = 0

    def _copies(self, queue: str, keys: Sequence[Key]) -> list[Copy]:
        copies = self._queues[INDEX[queue]].copies
        return [copies[key] for key in keys if key in copies]

    def _thing(self, connection: int, tx: Tx | None = None) -> Thing:
        thing = Thing(connection, self._syncing.clock, self.incarnation, tx)
        self._syncing.sent(thing)
        return thing

    # -- transactions

    def commit(self, tx: int) -> None:
        """tx.commit was sent."""
        transaction = self._txs[tx]
        transaction.state = "asked"
        transaction.clock = self._syncing.clock
        transaction.thing = self._thing(transaction.connection, transaction)
        transaction.proves |= any(copy.persistent for copy in transaction.settled)
        self._settle(transaction.settled, transaction.thing)

    def committed(self, tx: int) -> None:
        """commit-ok came."""
        transaction = self._txs[tx]
        transaction.yes = transaction.yes or "commit-ok came"
        self.counts["transactions"] += 1
        self._done(transaction)
        if transaction.proves:
            self._syncing.proved(transaction.connection, transaction.clock)

    def _done(self, tx: Tx) -> None:
        """It is known to be durable."""
        tx.state = "committed"
        for copy in tx.copies:
            copy.confirmed = True
        if tx.thing is not None:
            tx.thing.synced = tx.thing.processed = True

    def rolled_back(self, tx: int) -> None:
        """tx.rollback was sent: its messages never were, what it acknowledged is still held."""
        self._discard(self._txs[tx])

    def _tx(self, number: int, connection: int) -> Tx:
        if number not in self._txs:
            self._txs[number] = Tx(number, connection, self.incarnation)
        return self._txs[number]

    def _discard(self, tx: Tx) -> None:
        tx.state = "discarded"

    # -- topology

    def changing(
        self, connection: int, change: int, effects: dict[str, bool], emptied: Sequence[str]
    ) -> None:
        """A declare, bind, unbind or delete was sent; `emptied`: the queue that it deletes, with its groups."""
        self.counts["topology changes"] += 1
        thing = self._thing(connection)
        self._facts.changing(Change(effects, thing))
        for queue in emptied:
            self._settle(self._queues[INDEX[queue]].deleting(thing), thing)
        self._changes[change] = thing
        self._syncing.clock += 1
        self._syncing.asked(connection, -change)

    def changed(self, connection: int, change: int) -> None:
        """Its reply came."""
        thing = self._changes.pop(change)
        self._syncing.answered(connection, -change)
        if self._reply_is_proof:
            self._syncing.proved(connection, thing.clock + 1)
            thing.synced = True

    def found(self, seen: dict[str, bool]) -> None:
        """What there was when everything was looked at, with nobody at work."""
        answer = self._facts.found(seen, self._crashed)
        self.counts["looks at the topology"] += 1
        if isinstance(answer, str):
            self._fail("TOPOLOGY", f"broker {self.incarnation}: {answer}")
            return
        done, undone = answer
        for change in done:
            change.thing.processed = change.thing.synced = True
        things = {change.thing for change in undone}
        self.counts["topology changes undone"] += len(things)
        for ledger in self._queues:
            ledger.found(seen.get(queue_entity(ledger.name), False), things)

    # -- looking

    def counted(self, queue: str, ready: int) -> None:
        """The length of a queue when nobody is connected but who looks."""
        ledger = self._queues[INDEX[queue]]
        self.counts["looks at queues"] += 1
        if ready > (most := ledger.possible(self.incarnation)):
            self._fail(
                "COUNT", f"broker {self.incarnation}: {queue} has {ready}, at most {most} can be"
            )
        owed = list(ledger.owed(self.incarnation))
        if ready < len(owed):
            text = f"{queue} has {ready}, {len(owed)} are owed, from {owed[0]} to {owed[-1]}"
            self._fail("LOST", f"broker {self.incarnation}: {text}")

    def drained(self, horizon: int) -> None:
        """Every queue was emptied, by acknowledgements that are durable, and every stream was read; publishers below
        `horizon` are done."""
        self.counts["drains"] += 1
        for ledger in self._queues:
            for copy in () if ledger.keeps else ledger.owed(self.incarnation):
                if copy.publisher < horizon:
                    self._fail("LOST", f"broker {self.incarnation}: {ledger.name}: {copy}")
        for tx in self._txs.values():
            self._judge_tx(tx)
        self._txs.clear()
        for ledger in self._queues:
            ledger.forget(horizon)
        for number in [number for number in self._publishers if number < horizon]:
            del self._publishers[number]
        self._horizon = horizon

    def _judge_tx(self, tx: Tx) -> None:
        """All or nothing: after a drain, what is neither settled nor discarded is not there."""
        if tx.state == "asked":
            self.counts["transactions in doubt"] += 1
            for copy in tx.copies:
                ledger = self._queues[copy.queue]
                if not ledger.tells(copy):
                    continue
                if ledger.keeps or copy.settled is None:
                    tx.no = tx.no or f"{copy} is not in {ledger.name}"
                elif copy.settled.synced or tx.incarnation == self.incarnation:
                    tx.yes = tx.yes or f"{copy} was in {ledger.name}"
            for copy in tx.settled:
                ledger = self._queues[copy.queue]
                if copy.settled is tx.thing and ledger.tells(copy) and copy.confirmed:
                    tx.yes = tx.yes or f"{copy}, which it acknowledged, is gone"
            self.counts["transactions in doubt, found done"] += bool(tx.yes)
        if tx.yes and tx.no:
            self._fail("TORN", f"transaction {tx.number}: {tx.yes}, but {tx.no}")

    def check(self) -> tuple[list[str], dict[str, int]]:
        """The findings since the last call, and all counts."""
        findings, self.findings = self.findings, []
        return findings, dict(self.counts)
