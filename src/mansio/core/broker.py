"""The Broker: commands go in, effects go to sessions' outboxes, records come out, confirms wait for the log.

A *turn* is what happens between two calls of `end_turn`: the server applies every command that has arrived, then takes
the turn's effects at once:

    publish, settle, consume …  ──►  end_turn()  ──►  deliveries in outboxes (may leave at once)
                                                 ──►  records (go to the log as one entry)
                                                 ──►  seal(ticket): what waits for that entry
    log: entry is durable       ──►  durable(ticket): confirms and tx.commit-ok leave
    log: entry was lost for good ─►  failed(ticket): nacks leave

The Broker raises `BrokerError` for what a client may not do, before anything has changed. It never raises otherwise.
"""

from collections.abc import Iterable
from typing import Any

from mansio.core.administration import Administration
from mansio.core.channels import Channels
from mansio.core.confirms import Confirms
from mansio.core.connecting import Connecting
from mansio.core.counts import Counts
from mansio.core.dead_letters import DeadLetters
from mansio.core.deadlines import Deadlines
from mansio.core.deduplication import Deduplication
from mansio.core.definitions import Definitions
from mansio.core.delays import Delays
from mansio.core.dispatch import Dispatcher
from mansio.core.draws import Draws
from mansio.core.errors import PreconditionFailed, Unsupported
from mansio.core.feed import Feeds
from mansio.core.forwarding import Forwarding
from mansio.core.inflight import Piece
from mansio.core.intake import Intake
from mansio.core.journal import Journal
from mansio.core.key_moves import KeyMoves
from mansio.core.keyspace import Keyspace
from mansio.core.keyspaces import Keyspaces
from mansio.core.letters import Letters, NoLetters
from mansio.core.limits import OPEN_BYTES_MAX, OPEN_RUNS_MAX, Limits
from mansio.core.list_edits import ListEdits
from mansio.core.lists import Lists
from mansio.core.matching import Means
from mansio.core.overdue import Overdue
from mansio.core.paging import Paging
from mansio.core.policies import Policies
from mansio.core.posting import Posting
from mansio.core.queue import Queue
from mansio.core.receipts import Receipts
from mansio.core.records import Parts
from mansio.core.reserving import Reserving
from mansio.core.rights import Rights
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.core.session import Channel, Outcome, Session, Transaction
from mansio.core.settling import REFUSED, Settling
from mansio.core.streams import REFUSALS, Streams
from mansio.core.topology import VHost
from mansio.core.users import DEFAULT_VHOST, Users
from mansio.core.view import View, compile_nothing
from mansio.core.waiters import Waiting


class Broker(Connecting):
    """All state of one broker process."""

    def __init__(
        self,
        limits: Limits | None = None,
        letters: Letters | None = None,
        means: Means | None = None,
    ) -> None:
        """`letters`: who knows how messages look, and writes those that the broker publishes itself. `means`: what
        routing and dispatching need that choose by chance or by content."""
        super().__init__()
        self.means = means or Means(Draws(0), compile_nothing)
        self.draws = self.means.draws
        self.limits = limits or Limits()
        self.letters = letters or NoLetters()
        self.now_ms = 0
        """Unix time: of what is applied now, and of what is due. Whoever drives the broker sets it."""
        self.began_ms = 0
        """Unix time when it began to be driven."""
        self.deadlines = Deadlines()
        self.vhosts: dict[str, VHost] = {}
        self.add_vhost(DEFAULT_VHOST)
        self.users = Users()
        self.sessions: dict[Session, None] = {}  # in the order in which they were opened
        self.administration = Administration(self)
        self.definitions = Definitions(self)
        self.policies = Policies(self)
        self.dispatcher = Dispatcher(self.letters)
        self.paging = Paging(self.limits, self.dispatcher)
        self.journal = Journal(self)
        self.counts = Counts()
        self.settling = Settling(self.dispatcher, self.journal.retention, self.paging, self.counts)
        self.confirms = Confirms(self.counts)
        self.intake = Intake(self)
        self.forwarding = Forwarding(self)
        self.dead_letters = DeadLetters(self)
        self.deduplication = Deduplication(self)
        self.receipts = self.settling.receipts = Receipts(self)
        self.settling.deduplication = self.deduplication
        self.dispatcher.dead_letters = self.settling.dead_letters = self.dead_letters
        self.streams = self.dispatcher.streams = Streams(self)
        self.overdue = Overdue(self)
        self.lists = Lists(self)
        self.list_edits = ListEdits(self, self.lists)
        self.waiting_lists = Waiting(self)
        self.reserving = Reserving(self)
        self.posting = Posting(self)
        self._delays: dict[str, Delays] = {}
        self.keyspaces = Keyspaces(self)
        self.channels = Channels()
        self.feeds = Feeds(self)
        self.redis: Any = None  # what the fronts of Redis clients share
        self.zmtp: Any = None  # what the fronts of ZeroMQ peers share
        self.key_moves = KeyMoves(self)
        self.forgetful = False
        """Nobody will ever read the log. Whoever drives the broker sets it, before anything else."""
        self.blocked = False  # publishers are to be held back
        self.low_on_memory = False
        self.low_on_disk = False  # the log has room for what is under way and for settlements only
        self.notices: list[str] = []  # for the log; the server takes them
        self.resumed: list[
            Any
        ] = []  # fronts whose command has waited, and that go on; the server takes them

    @property
    def memory_bytes(self) -> int:
        """Bytes of the messages that are not settled everywhere and not paged out."""
        return self.paging.resident_bytes

    # -- virtual hosts

    def add_vhost(self, name: str) -> VHost:
        """A virtual host with nothing in it but what all have."""
        host = self.vhosts[name] = VHost(name, self.means)
        return host

    def remove_vhost(self, name: str) -> None:
        """Forgets an empty virtual host, and what is delayed in it."""
        delays = self._delays.pop(name, None)
        if delays is not None:
            delays.drop_all()
        self.keyspaces.drop(name)
        del self.vhosts[name]

    # -- publishing

    def route(
        self, rights: Rights, exchange: str, key: str, mandatory: bool, channel: int, skip: int
    ) -> Route:
        """Where publishes with this exchange and key go; NotFound, AccessRefused. `skip`: bytes of the method frame."""
        host = self.vhosts[rights.vhost]
        rights.check_write("exchange", exchange)
        start = host.publishable(exchange)
        self.check_keys(rights, exchange, (key,))
        queues, by_content = host.route(start, [key], None)
        route = Route(exchange, key, tuple(queues), by_content, mandatory, channel, skip)
        route.remember_in(start)
        return route

    def route_message(
        self, rights: Rights, exchange: str, keys: list[str], view: View
    ) -> tuple[Queue, ...]:
        """The queues for one message whose content counts or which has CC and BCC keys."""
        host = self.vhosts[rights.vhost]
        return tuple(host.route(host.publishable(exchange), keys, view)[0])

    def check_keys(self, rights: Rights, exchange: str, keys: Iterable[str]) -> None:
        """Whether one may publish with these routing keys, also those of CC and BCC; AccessRefused."""
        if rights.topics and self.vhosts[rights.vhost].publishable(exchange).type == "topic":
            for key in keys:
                rights.check_write_topic(exchange, key)

    def publish(self, channel: Channel, run: Run, queues: tuple[Queue, ...]) -> None:
        """Puts a run into these queues, or, if it is `held`, into the store of delayed messages; in a transaction,
        keeps it until the commit."""
        if channel.tx is not None:
            self._check_open_runs(channel)
            channel.tx.bytes += len(run.data)
            channel.tx.publishes.append((run, queues))
            return
        if channel.confirming:
            self.confirms.published(channel, run.count)
        self._put(run, queues, channel)

    def _put(self, run: Run, queues: tuple[Queue, ...], channel: Channel) -> None:
        if run.held is not None:
            self.delays(channel.session.vhost).hold(run, channel)
        else:
            self.intake.put(run, queues, channel)

    def delays(self, vhost: str) -> Delays:
        """The delayed messages of a virtual host."""
        delays = self._delays.get(vhost)
        if delays is None:
            delays = self._delays[vhost] = Delays(self, vhost)
        return delays

    def keyspace(self, vhost: str) -> Keyspace:
        """The keys of a virtual host, as Redis clients see them."""
        return self.keyspaces.of(vhost)

    # -- settling

    def settle(
        self, channel: Channel, first: int, last: int, multiple: bool, outcome: Outcome
    ) -> None:
        """Settles tags [first, last], or all up to `last`; PreconditionFailed for an unknown tag, Unsupported for
        deliveries of a stream that are not accepted."""
        unknown = -1
        if not multiple:
            pieces, unknown = channel.ledger.settle(first, last)
        elif last == 0:
            pieces = channel.ledger.take_all()
        elif not channel.ledger.knows(last):
            pieces, unknown = [], last
        else:
            pieces = channel.ledger.settle_until(last)
        if pieces:
            if channel.tx is not None:
                channel.tx.settled.append((pieces, outcome))
            else:
                if self.streams and outcome is not Outcome.ACCEPT:
                    pieces = self._settle_up_to_stream(pieces, outcome, multiple)
                self._settle(pieces, outcome)
        if unknown >= 0:
            raise PreconditionFailed(f"unknown delivery tag {unknown}")

    def _settle(self, pieces: list[Piece], outcome: Outcome) -> None:
        if outcome is Outcome.ACCEPT:
            self.settling.accept(pieces)
            return
        if outcome is Outcome.REQUEUE:
            self.settling.requeue(pieces, REFUSED)
        else:
            self._reject(pieces)

    def _reject(self, pieces: list[Piece]) -> None:
        """A queue with a rule for retries tries again."""
        tried = [piece for piece in pieces if piece.queue.deferred is not None]
        if tried:
            self.settling.requeue(tried, REFUSED)
            pieces = [piece for piece in pieces if piece.queue.deferred is None]
        self.dead_letters.reject(pieces)

    def _settle_up_to_stream(
        self, pieces: list[Piece], outcome: Outcome, multiple: bool
    ) -> list[Piece]:
        """Refuses deliveries of a stream. Unless all of them are one method's, those before are settled; answers the
        rest."""
        queues = [piece.queue for piece in pieces]
        kept = (i for i, queue in enumerate(queues) if queue.keeps and not queue.deleted)
        at = 0 if multiple else next(kept, 0)
        self._settle(pieces[:at], outcome)
        self._check_refusal(pieces[at:])
        return pieces[at:]

    def _check_refusal(self, pieces: list[Piece], how: str = REFUSALS) -> None:
        """The client's connection ends where one of them is a stream's; they are in no ledger any more."""
        try:
            self.streams.check_refusal(pieces, how)
        except Unsupported:
            self.settling.requeue(pieces)
            raise

    def recover(self, channel: Channel) -> None:
        """Requeues every unsettled delivery of the channel; Unsupported for those of streams."""
        pieces = channel.ledger.take_all()
        if self.streams:
            self._check_refusal(pieces, "basic.recover")
        self.settling.requeue(pieces)

    # -- transactions

    def select_tx(self, channel: Channel) -> None:
        """Begins the first transaction of the channel."""
        if channel.tx is None:
            channel.tx = Transaction()

    def commit(self, channel: Channel) -> None:
        """Applies the transaction in this turn, and in one log entry; `committed` follows when that is durable.

        Unsupported, and nothing is applied, where it refuses deliveries of a stream.
        """
        tx = channel.tx
        if tx is None:
            raise PreconditionFailed("channel is not transactional")
        if self.streams:
            for pieces, outcome in tx.settled:
                if outcome is not Outcome.ACCEPT:
                    self.streams.check_refusal(pieces)
        channel.tx = Transaction()
        self.journal.begin(tx.bytes)
        for run, queues in tx.publishes:
            self._put(run, queues, channel)
        for pieces, outcome in tx.settled:
            self._settle(pieces, outcome)
        self.journal.end()
        self.confirms.committed(channel)

    def rollback(self, channel: Channel, close: bool = False) -> None:
        """Forgets publishes; settlements of the transaction become unsettled deliveries again."""
        if channel.tx is None:
            if close:
                return
            raise PreconditionFailed("channel is not transactional")
        settled = [piece for pieces, _ in channel.tx.settled for piece in pieces]
        if settled:
            channel.ledger.restore(settled, self.now_ms)
            self.overdue.restored(channel, settled)
        channel.tx = None if close else Transaction()

    def _check_open_runs(self, channel: Channel) -> None:
        tx = channel.tx
        if tx is None:
            return
        if len(tx.publishes) + len(tx.settled) >= OPEN_RUNS_MAX:
            raise PreconditionFailed(
                f"transaction holds more than {OPEN_RUNS_MAX} operations; commit more often"
            )
        if tx.bytes >= OPEN_BYTES_MAX:
            raise PreconditionFailed(
                f"transaction holds more than {OPEN_BYTES_MAX >> 20} MiB; commit more often"
            )

    # -- turns

    def end_turn(self) -> list[Parts]:
        """Hands out what can be delivered; answers the turn's records."""
        settling = self.settling
        settling.now_ms = self.now_ms
        if self.lists.gathered:
            self.lists.flush()
        if self.deadlines.next_ms <= self.now_ms:
            self.deadlines.fire(self.now_ms)
        if self.streams.entries.unwritten:
            self.streams.entries.turned()
        self.dispatcher.run(settling)
        if self.feeds.pending:
            self.feeds.turned()
        self.deduplication.turned()
        if self._cancelled:
            self._tell_cancelled()
        keyspaces = self.keyspaces
        if keyspaces:
            keyspaces.flush()
        records = self.journal.take()
        paging = settling.paging
        if paging.resident_bytes > paging.budget_bytes > 0:
            paging.page_out()
        held = paging.resident_bytes + settling.runs * self.limits.run_bytes
        if keyspaces:
            held += keyspaces.held_bytes
        limit = self.limits.memory_bytes_max
        self.low_on_memory = held > (limit * 0.9 if self.low_on_memory else limit)
        self.blocked = self.low_on_memory or self.low_on_disk
        return records

    def write_gathered(self) -> None:
        """A transaction ends: what it has pushed, added and set goes into its entry of the log."""
        if self.lists.gathered:
            self.lists.flush()
        if self.streams.entries.unwritten:
            self.streams.entries.turned()
        self.keyspaces.flush()

    def seal(self, ticket: int) -> None:
        """What was published and committed since the last call waits for the log entry `ticket`."""
        self.confirms.seal(ticket)

    def durable(self, ticket: int) -> None:
        """Log entries up to `ticket` are durable: their confirms leave."""
        self.confirms.release(ticket, True)

    def failed(self, ticket: int) -> None:
        """Log entries up to `ticket` that are not durable by now never will be: their publishes are refused."""
        self.confirms.release(ticket, False)

    @property
    def waiting(self) -> bool:
        """Whether confirms wait for the log."""
        return self.confirms.waiting

    @property
    def unfinished(self) -> bool:
        """Whether the turn has left something to hand out."""
        return self.dispatcher.unfinished
