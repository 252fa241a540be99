"""The turn: what has arrived is applied, then everything that follows from it leaves at once.

sockets readable ──► Connection ──► front ──► Broker              (any number of connections)
end of the turn  ──► Broker.end_turn ──► records to the log, one entry
                                     ──► one write per connection
entry durable    ──► confirms to their outboxes ──► one write per connection
"""

import asyncio
import logging
import secrets
from collections import deque
from typing import Final

from mansio import __version__
from mansio.codec.amqp import WHOLE_BYTES_MAX
from mansio.core.broker import Broker
from mansio.core.limits import FRAME_MIN_BYTES, TURN_BYTES
from mansio.core.records import Parts
from mansio.log.base import Log, LogError, Space
from mansio.log.group_commit import Placed
from mansio.protocol.amqp.connection import AmqpConnection
from mansio.protocol.base import Authenticator, Front, Peer
from mansio.server.alarm import Alarm
from mansio.server.brake import Brake
from mansio.server.clock import Clock
from mansio.server.committer import Committer
from mansio.server.connection import Connection, MakeFront
from mansio.server.late_end import LateEnd
from mansio.server.logs import Budget, fields
from mansio.server.pager import Pager
from mansio.server.tasks import Tasks
from mansio.server.tls_porter import Porter
from mansio.server.visitors import Visitors

logger = logging.getLogger("mansio")

READ_BYTES: Final = 262_144
"""What one read may bring: 256 KiB made the largest runs for the least delay in measurements."""

READING_NS: Final = 700_000
"""How long one turn reads from publishers that could go on: libuv reads a socket up to 32 times in a pass of the loop,
and meanwhile what the disk has written waits for its confirms. Passes of 8 MiB took 7 ms, and cost the caches."""
STRANGERS_PER_TURN: Final = 2
"""Connections that are not open yet are looked at so many at a time: a crowd that shakes hands, or only shouts, must
not delay the others. 200 at once made pauses of some 10 ms (measured)."""
TICKS_PER_PASS: Final = 64
"""Connections whose deadlines are looked at in one pass of the loop: all of 500 at once took 1 ms."""
CLOSED_LINES_PER_S: Final = 20
"""Lines about connections that ended for an error; more are counted and told in one line."""
SPACE_S: Final = 0.5
"""Between two looks at the room that the log has."""
PENDING_BYTES_MAX: Final = 16 << 20
"""What may wait for the log before publishers are held until it has caught up: a slow disk must not fill the memory."""
POLL_S: Final = 0.001
"""Between two looks whether the log has everything, at the start and at the end."""
START_TOLD_NS: Final = 5_000_000_000


class Turn:
    """All connections of one event loop, the Broker, and the log behind it."""

    def __init__(
        self,
        broker: Broker,
        log: Log,
        clock: Clock,
        tasks: Tasks,
        authenticator: Authenticator,
        spool: Log | None = None,
        visitors: Visitors | None = None,
    ) -> None:
        """`spool`: a log for transient messages that have no room in memory."""
        self.broker = broker
        self.authenticator = authenticator
        self.visitors = visitors or Visitors()
        self.connections: set[Connection] = set()
        self.porter: Porter | None = None  # of the listeners with TLS
        self._clock = clock
        self._tasks = tasks
        self._committer = Committer(
            log, clock, tasks, self._on_placed, self._on_durable, self._on_failed, self._end_late
        )
        self.appends = self._committer.appends
        self.space: Space | None = None  # of the log, as of the last look
        self.blocks = {"memory": 0, "disk": 0}  # times that publishers were blocked, by reason
        self._pager: Pager | None = None  # of a broker that may page messages out
        if broker.limits.page_bytes:
            self._pager = Pager(broker, log, spool, clock, tasks, self._on_loaded)
        self.speaking: list[Front] = []  # with output; fronts put themselves here
        self._shells: dict[Front, Connection] = {}
        self._late = LateEnd(broker, self._committer, clock, self.speaking)
        self.brake = Brake(broker.journal, self._is_behind)
        self.clock_ns = clock.now_ns
        self.received_ns = 0  # when something was last received
        self.reading_until_ns = 0
        """What comes later is the last that this turn reads; 0: it has read nothing yet."""
        self._deferred: list[Connection] = []
        self._alarm = Alarm(broker, clock, self.schedule)
        self.see = self._alarm.see
        self._admitted = 0
        self._waiting: deque[Connection] = deque()
        self._log_budget = Budget(CLOSED_LINES_PER_S)
        self._log = log
        self.scheduled = False
        self._was_blocked = False
        tail_bytes = max(broker.limits.frame_max, WHOLE_BYTES_MAX) + FRAME_MIN_BYTES
        self.buffer = bytearray(tail_bytes + READ_BYTES)
        self.view = memoryview(self.buffer)

    async def open(self, new: bool = True) -> None:
        """Takes the log over; nothing may be published before. `new`: it has had no record yet."""
        await self._committer.open(secrets.randbits(64))
        self._measure(False)
        if self._pager is not None:
            self._pager.start()
        self.broker.began_ms = self.broker.now_ms
        self.broker.journal.started(__version__, new)
        self.schedule()

    async def ready(self) -> None:
        """Waits until the start is durable: from there on, what was delivered before a crash is delivered as such."""
        since_ns = told_ns = self._clock.now_ns()
        while self.scheduled or self._committer.working:
            await asyncio.sleep(POLL_S)
            now_ns = self._clock.now_ns()
            if now_ns - told_ns > START_TOLD_NS:
                told_ns = now_ns
                waited_s = (now_ns - since_ns) // 1_000_000_000
                logger.warning(
                    "waiting for the log to take the start of the broker, %d s", waited_s
                )

    def connection(self, make_front: MakeFront | None = None) -> Connection:
        """A protocol for one accepted socket, of an AMQP client unless another front is made for it."""
        return Connection(self, self._clock, make_front or self._amqp)

    def _amqp(self, peer: Peer, door: Authenticator) -> Front:
        return AmqpConnection(self.broker, door, peer, token, self.speaking, self._clock.now_ns())

    def add(self, connection: Connection, front: Front) -> None:
        """A connection was made, and this is its front."""
        self.connections.add(connection)
        self._shells[front] = connection

    def remove(self, connection: Connection, front: Front) -> None:
        """The socket is closed."""
        self.connections.discard(connection)
        self._shells.pop(front, None)
        self.schedule()

    def log_closed(self, peer: Peer, front: Front) -> None:
        """A connection is gone: a line if something was wrong, but not for each of a crowd."""
        about = fields(peer=peer.name, user=front.user)
        if not front.close_reason:
            logger.debug("closed %s", peer.name, extra=about)
        elif self._log_budget.allows(self._clock.now_ns()):
            logger.warning("closed %s: %s", peer.name, front.close_reason, extra=about)

    def schedule(self) -> None:
        """Lets the turn end once every socket that is readable now has been read."""
        if not self.scheduled:
            self.scheduled = True
            asyncio.get_running_loop().call_soon(self.end)

    def begin(self, now_ns: int) -> None:
        """The first read of this turn: the time that it goes by."""
        self.reading_until_ns = now_ns + READING_NS
        self.see(now_ns)

    def defer(self, connection: Connection) -> None:
        """It is read from again when the turn has ended."""
        self._deferred.append(connection)

    def admits(self) -> bool:
        """Whether one more connection that is not open yet may be looked at in this turn."""
        self._admitted += 1
        return self._admitted <= STRANGERS_PER_TURN and not self._waiting

    def wait(self, connection: Connection) -> None:
        """A connection that is not open yet has said something; its turn comes later."""
        self._waiting.append(connection)
        self.schedule()

    def _admit(self) -> None:
        self._admitted = 0
        for _ in range(min(STRANGERS_PER_TURN, len(self._waiting))):
            self._waiting.popleft().go_on()
        if self._waiting:
            self.schedule()

    def end(self) -> None:
        """Ends the turn: log, outboxes, flow."""
        self.scheduled = False
        self.reading_until_ns = 0
        if self._admitted or self._waiting:
            self._admit()
        broker = self.broker
        self._alarm.look()
        if broker.confirms.changing and not self._deferred and self._late.puts_off():
            return
        self._late.ended()
        records = broker.end_turn()
        if records or broker.confirms.busy:
            self._commit(records)
        if self._pager is not None:
            self._pager.turn()
            broker.journal.behind = self._is_behind()
        if self.speaking:
            self._write()
        if self._deferred:
            deferred, self._deferred = self._deferred, []
            for connection in deferred:
                connection.resume_reading()
        if broker.blocked != self._was_blocked:
            self._on_blocked(broker.blocked)
        if broker.resumed:
            self._resume()
        if broker.dispatcher.dirty:
            self.schedule()
        self._alarm.set()
        if broker.notices:
            notices, broker.notices = broker.notices, []
            for notice in notices:
                logger.warning("%s", notice)

    def _end_late(self) -> None:
        """The log is ready for a turn that was left open."""
        self._late.due()
        self.end()

    def _resume(self) -> None:
        """Commands that came behind one that had to wait are looked at."""
        resumed, self.broker.resumed = self.broker.resumed, []
        for front in resumed:
            shell = self._shells.get(front)
            if shell is not None:
                shell.go_on()
        self.schedule()

    def _commit(self, records: list[Parts]) -> None:
        """Hands the turn's records to the log; what waits for them leaves when they are durable, maybe at once."""
        broker, journal = self.broker, self.broker.journal
        clients = broker.confirms.changing
        ticket = self._committer.add(records, journal.owners, journal.breaks, clients)
        journal.behind = self._is_behind()
        self._measure(broker.low_on_disk)
        broker.seal(ticket)
        if ticket <= self._committer.durable:
            self.broker.durable(ticket)
        elif self._committer.lost:
            self.broker.failed(ticket)

    def _measure(self, low: bool) -> None:
        """What the log's last answer says of the room that is left. `low`: it is, also if it says that it is not."""
        room_bytes = self._log.room_bytes - self._committer.unsaved_bytes
        self.broker.journal.measured(room_bytes, low or self._log.low)

    def _is_behind(self) -> bool:
        spooling_bytes = self._pager.pending_bytes if self._pager is not None else 0
        return self._committer.pending_bytes + spooling_bytes > PENDING_BYTES_MAX

    def _write(self) -> None:
        speaking = self.speaking
        for front in speaking:
            shell = self._shells.get(front)
            chunks = front.data_to_send()
            if shell is not None:
                if chunks or front.closed:
                    shell.write(chunks)
                if front.unflushed:
                    shell.watch_flush()
                session = front.session
                if session is not None and session.allowance < TURN_BYTES and not front.gated:
                    self.broker.grant(session)
                if front.paused and front.may_go_on():
                    shell.resume_reading()
        speaking.clear()

    def _on_placed(self, seq: int, size: int, placed: list[Placed]) -> int:
        self._measure(self.broker.low_on_disk)
        journal = self.broker.journal
        journal.placed(seq, size, placed)
        return journal.retention.cut()

    def _on_loaded(self) -> None:
        for front in self.broker.paging.loading.take_woken():
            shell = self._shells.get(front)
            if shell is not None:
                shell.go_on()
        self.schedule()

    def _on_durable(self, ticket: int) -> None:
        self.broker.durable(ticket)
        self._write()
        if self.broker.journal.waiters and not self.broker.low_on_disk:
            self._unblock(list(self.broker.journal.waiters))
        if self.broker.unfinished:
            self.schedule()

    def _on_failed(self, ticket: int) -> None:
        self.broker.failed(ticket)
        self._write()
        if self.broker.unfinished:
            self.schedule()

    def _on_blocked(self, blocked: bool) -> None:
        self._was_blocked = blocked
        if blocked:
            self.blocks["memory"] += self.broker.low_on_memory
            self.blocks["disk"] += self.broker.low_on_disk
            logger.warning("publishers are blocked: %s", self._shortage())
            return
        logger.info("publishers go on: messages hold %d MiB", self.broker.memory_bytes >> 20)
        waiters = list(self.broker.journal.waiters)
        self._unblock(waiters + [front for front in self._shells if front.blocked or front.paused])

    def _unblock(self, fronts: list[Front]) -> None:
        """Publishers that were held back go on, as far as there is room."""
        waiters = self.broker.journal.waiters
        for front in fronts:
            front.unblock()
            shell = self._shells.get(front)
            if shell is not None:
                if front.waiting and front not in waiters:
                    shell.go_on()
                shell.resume_reading()
        self.schedule()
        self._write()

    def _shortage(self) -> str:
        broker = self.broker
        if broker.low_on_disk:
            return "the disk of the log is full, but for what acknowledgements need; free some space or consume"
        limit = broker.limits.memory_bytes_max >> 20
        return f"messages hold {broker.memory_bytes >> 20} MiB, the limit is {limit} MiB"

    def tick(self) -> None:
        """Housekeeping, a few times a second: heartbeats, deadlines."""
        self._alarm.set_time()
        now_ns = self._clock.now_ns()
        suppressed = self._log_budget.take_suppressed()
        if suppressed:
            logger.warning("%d more connections were closed for errors", suppressed)
        self._tick_some(list(self.connections), now_ns)

    def _tick_some(self, connections: list[Connection], now_ns: int) -> None:
        for connection in connections[:TICKS_PER_PASS]:
            connection.tick(now_ns)
        if len(connections) > TICKS_PER_PASS:
            rest = connections[TICKS_PER_PASS:]
            asyncio.get_running_loop().call_soon(self._tick_some, rest, now_ns)
        self.schedule()

    async def watch_space(self) -> None:
        """Looks now and then whether the log has room."""
        while True:
            await asyncio.sleep(SPACE_S)
            try:
                self.space = await self._log.space()
            except LogError as error:
                logger.warning("the log does not say what room it has: %s", error)
            else:
                self.broker.journal.spare_bytes = self.space.free_bytes
            self._measure(False)
            self.schedule()
            waiters = self.broker.journal.waiters
            if waiters and not self.broker.blocked:
                self._unblock(list(waiters))

    async def stop(self, timeout_s: float) -> bool:
        """Nobody is connected any more: writes down what a restart has to know, and waits until that is durable;
        whether it is."""
        self.broker.journal.stopped()
        self.schedule()
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1_000_000_000)
        while self._clock.now_ns() < deadline_ns and (self.scheduled or self._committer.working):
            await asyncio.sleep(POLL_S)
        return self._committer.idle and not self.scheduled

    async def close(self) -> None:
        """Lets go of what messages were paged out to."""
        if self._pager is not None:
            await self._pager.close()

    async def drain(self, timeout_s: float) -> None:
        """Waits until every connection is closed and the log has everything; aborts what is left at the end."""
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1_000_000_000)
        while self._clock.now_ns() < deadline_ns:
            if not self._committer.working and all(each.lingering for each in self.connections):
                break
            self.schedule()
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()


def token() -> str:
    """A name part that nobody guesses, in the form that RabbitMQ's generated names have."""
    return secrets.token_urlsafe(16)
