"""The server without sockets and loop: what server/turn.py, connection.py and committer.py do, on a virtual clock.

It is the same order of calls, so that the Broker and the fronts cannot tell the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any
from zlib import crc32

from mansio.codec.amqp import WHOLE_BYTES_MAX
from mansio.core.broker import Broker
from mansio.core.draws import Draws
from mansio.core.limits import FRAME_MIN_BYTES, Limits
from mansio.core.matching import Means
from mansio.core.queue import Queue
from mansio.core.restore import Restore
from mansio.core.run import Run
from mansio.core.session import Channel
from mansio.log.commit_states import State
from mansio.log.group_commit import GroupCommit
from mansio.log.memory import MemoryStore
from mansio.protocol.amqp.connection import AmqpConnection
from mansio.protocol.base import Peer
from mansio.protocol.expressions import Expressions
from tests.log.faulty import Committer, Faults, FaultyLog
from tests.logins import AtOnce
from tests.sim.choices import CHOOSERS
from tests.sim.events import Event, Tell, Watch, WatchedLetters, watch_queues
from tests.sim.pager import Pager
from tests.sim.wire import Item, Parser, parse_content
from tests.sim.zmtp_server import ZmtpFront

READ_BYTES = 262_144
EXPRESSIONS = Expressions()
Sent = tuple[tuple[bytes, bytes], set[str]]
"""((header payload, body), names of queues)."""


class _Output(list[Any]):
    """What a front has to send; whoever watches the front sees each piece at the moment it is made."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def append(self, data: Any) -> None:
        super().append(data)
        self._front.made(bytes(data))

    def insert(self, index: Any, data: Any) -> None:
        before = sum(map(len, self[:index]))
        super().insert(index, data)
        self._front.squeezed_in(before, bytes(data))


class Front(AmqpConnection):
    """A front whose output is seen at the moment it is made; `items`: what has not been written yet."""

    def __init__(self, watch: Callable[[Front, list[Item]], None], *args: Any) -> None:
        super().__init__(*args)
        self.watch = watch
        self.items: list[Item] = []
        self.made_bytes = 0
        self.storage_refused = False
        """It was waiting for a log that was lost."""
        self._parser = Parser()
        self._out = _Output(self)

    def data_to_send(self) -> list[bytes | memoryview]:
        held = bool(self._gates)
        out = super().data_to_send()
        if not held:
            self._out = _Output(self)
        return out

    def release(self, ok: bool) -> None:
        self.storage_refused = self.storage_refused or (not ok and self.gated)
        super().release(ok)

    def drop_held(self) -> None:
        held = sum(map(len, self._out[self._gates[0] :]))
        super().drop_held()
        self.made_bytes -= held
        while held > 0:
            held -= self.items.pop().size

    def take_items(self, size: int) -> list[Item]:
        """What is written now, of so many bytes: all of it, but for what waits for the log."""
        if size != self.made_bytes and not self._gates:
            raise AssertionError(f"{size} bytes are written, {self.made_bytes} were made")
        self.made_bytes -= size
        count = 0
        while size > 0:
            size -= self.items[count].size
            count += 1
        items = self.items[:count]
        del self.items[:count]
        return items

    def made(self, data: bytes) -> None:
        """Whole frames are to be sent."""
        items = self._parser.parse(data)
        self.items += items
        self.made_bytes += len(data)
        self.watch(self, items)

    def squeezed_in(self, before: int, data: bytes) -> None:
        """Whole frames are to be sent behind so many bytes of what was made."""
        items = Parser().parse(data)
        count = 0
        while before > 0:
            before -= self.items[count].size
            count += 1
        self.items[count:count] = items
        self.made_bytes += len(data)
        self.watch(self, items)


class Watched(Broker):
    """A broker that says where messages went, as long as there is an exchange that may choose."""

    def __init__(self, limits: Limits, letters: WatchedLetters, means: Means) -> None:
        super().__init__(limits, letters, means)
        self.sent: list[Sent] = []

    def publish(self, channel: Channel, run: Run, queues: tuple[Queue, ...]) -> None:
        exchanges = self.vhosts[channel.session.vhost].exchanges
        if any(each.type in CHOOSERS for each in exchanges.values()):
            names = {queue.name for queue in queues}
            self.sent += [(parse_content(run.content(i)), names) for i in range(run.count)]
        super().publish(channel, run, queues)


class Server:
    """A broker, its log, and the turn that ties them together."""

    def __init__(
        self,
        rng: Random,
        now_ms: int,
        limits: Limits,
        store: MemoryStore,
        faults: Faults,
        group_bytes_max: int,
        depth: int,
        whole_bytes_max: int,
        watch: Callable[[Front, list[Item]], None],
        write: Callable[[Front, list[Item]], None],
        before_cut: Callable[[], None],
        tell: Tell,
    ) -> None:
        """`watch` is told of output when it is made, `write` when it goes to the socket, `before_cut` before the log
        is cut off in front, `tell` what the broker does to messages."""
        self.rng = rng
        self._events = 0
        self._tell = tell
        means = Means(Draws(rng.getrandbits(64)), EXPRESSIONS.compile)
        self.broker = Watched(limits, WatchedLetters(limits.frame_max, self._told), means)
        self.broker.now_ms = now_ms
        watch_queues(self.broker, self._told)
        self.users = AtOnce(self.broker)
        self.fronts: list[Any] = []
        self.digest = 0
        self.scheduled = False
        """The turn will end once everything that has arrived is read. Nothing else ends it."""
        self._watch = watch
        self._write_to = write
        self._before_cut = before_cut
        epoch, nonce = store.bounds().epoch + 1, rng.getrandbits(64)
        log = FaultyLog(rng, store, faults, depth)
        seq = log.open(epoch, nonce)
        restore = Restore(self.broker)
        for entry_seq, entry in store.replay(1):
            restore.entry(entry_seq, len(store.entries[entry_seq]))
            for record, offset in zip(entry.records, entry.starts, strict=True):
                restore.apply(record, offset)
        restore.finish()
        Watch(self.broker, self._told)
        self.broker.journal.started("simulation", new=not restore.records)
        self.scheduled = True
        self.store = store
        ahead_bytes_min = 2000 * (epoch % 2)
        self.group = GroupCommit(
            epoch, nonce, seq, group_bytes_max, depth=depth, ahead_bytes_min=ahead_bytes_min
        )
        self.committer = Committer(self.group, log)
        self._ticket = 0
        self.pager = Pager(rng, self.broker, store, faults)
        self.lost = False
        """Nothing will be durable any more."""
        self._whole_bytes_max = whole_bytes_max
        self._speaking: list[Any] = []
        self._was_blocked = False
        tail_bytes = max(limits.frame_max, WHOLE_BYTES_MAX) + FRAME_MIN_BYTES
        self._buffer = bytearray(tail_bytes + READ_BYTES)
        self.tokens: list[str] = []
        """Random name parts that were drawn since this was last emptied."""

    @property
    def is_due(self) -> bool:
        """Whether the broker has asked to be looked at by now."""
        return self.broker.deadlines.next_ms <= self.broker.now_ms

    @property
    def all_durable(self) -> bool:
        return self.group.durable >= self._ticket

    def connect(self, name: str, now_ns: int) -> Front:
        """A socket was accepted."""
        front = Front(
            self._watch,
            self.broker,
            self.users,
            Peer(name, True),
            self._token,
            self._speaking,
            now_ns,
        )
        self.fronts.append(front)
        return front

    def connect_socket(
        self,
        name: str,
        now_ns: int,
        unwatch: Callable[[Any, list[Any]], None],
        ended: Callable[[ZmtpFront], None],
    ) -> ZmtpFront:
        """A ZeroMQ peer's socket was accepted. See `ZmtpFront`."""
        peer = Peer(name, True)
        about = (self.broker, self.users, peer, self._quiet_token, self._speaking, now_ns)
        front = ZmtpFront(self._watch, unwatch, ended, *about)
        self.fronts.append(front)
        return front

    def receive(self, front: Any, data: bytes, now_ns: int) -> None:
        """Bytes have arrived; they lie in the buffer that all connections share, behind the front's own tail."""
        n = len(front.tail)
        end = n + len(data)
        self._buffer[:n] = front.tail
        self._buffer[n:end] = data
        if isinstance(front, Front):
            front.scan.whole_max = self._whole_bytes_max
        front.receive_buffer(self._buffer, end, now_ns)
        self.scheduled = True

    def go_on(self, front: Any, now_ns: int) -> None:
        """What the front waited for may be there."""
        front.go_on(now_ns)
        self.scheduled = True

    def take_woken(self) -> list[Any]:
        """Fronts that may go on."""
        resumed, self.broker.resumed = self.broker.resumed, []
        return [*self.broker.paging.loading.take_woken(), *resumed]

    def take_sent(self) -> list[Sent]:
        """Messages and the names of the queues that they went to, since the last call."""
        sent, self.broker.sent = self.broker.sent, []
        return sent

    def lose(self, front: Any) -> None:
        """The socket is closed."""
        front.receive_eof()
        front.data_to_send()
        front.items.clear()
        front.made_bytes = 0
        self.fronts.remove(front)
        self.scheduled = True

    def dispatch(self) -> None:
        """The first half of the end of a turn: deliveries are made, records go to the log."""
        self.scheduled = False
        broker = self.broker
        records = broker.end_turn()
        if records:
            journal = broker.journal
            self._ticket = self.group.add(records, journal.owners, journal.breaks)
        broker.seal(self._ticket)

    def release(self) -> None:
        """The second half: what is durable is confirmed, and everything is written."""
        broker = self.broker
        if self._ticket <= self.group.durable:
            broker.durable(self._ticket)
        elif self.lost:
            broker.failed(self._ticket)
        self._write()
        if broker.blocked != self._was_blocked:
            self._was_blocked = broker.blocked
            if not broker.blocked:
                for front in self.fronts:
                    if front.blocked or front.paused:
                        front.unblock()
                        if isinstance(front, ZmtpFront) and front.waiting:
                            self.broker.resumed.append(front)
                self._write()
        if broker.unfinished:
            self.scheduled = True
        self.pager.turn()

    def step_pager(self, now_ns: int) -> None:
        """Reading goes on; what is there can be handed out."""
        events = self._events
        self.pager.step(now_ns)
        if self.broker.unfinished or self._events > events:
            self.scheduled = True

    def step_log(self, now_ns: int) -> None:
        """The log goes on; what has become durable is confirmed."""
        before = self.group.durable
        durable = self.committer.step(now_ns)
        self._place()
        if durable > before:
            self.broker.durable(durable)
            self._write()
            if self.broker.unfinished:
                self.scheduled = True
        if self.group.state is State.FATAL and not self.lost:
            self.lost = True
            self.broker.failed(self._ticket)
            self._write()
            self.scheduled = True

    def _place(self) -> None:
        """What has landed is told to the broker, and what it needs no more is cut off."""
        journal = self.broker.journal
        for landed in self.group.take_landed():
            journal.placed(*landed)
            self._before_cut()
            self.store.trim(journal.retention.cut())

    def shutdown(self, front: Any, code: int, text: str) -> None:
        """The server says goodbye."""
        front.shutdown(code, text)
        self.scheduled = True

    def tick(self, now_ns: int) -> None:
        """Heartbeats and deadlines."""
        for front in list(self.fronts):
            front.tick(now_ns)
        self.scheduled = True

    def set_writable(self, front: Any, writable: bool) -> None:
        """The socket takes no more, or takes something again."""
        front.set_writable(writable)
        if writable:
            self.scheduled = True

    def _told(self, vhost: str, event: Event) -> None:
        self._events += 1
        self._tell(vhost, event)

    def _write(self) -> None:
        for front in self._speaking:
            data = b"".join(front.data_to_send())
            items = front.take_items(len(data))
            self.digest = crc32(data, self.digest)
            if front in self.fronts:
                self._write_to(front, items)
                if front.session is not None and not front.gated:
                    self.broker.grant(front.session)
                if isinstance(front, ZmtpFront):
                    front.flushed()
        self._speaking.clear()

    def _quiet_token(self) -> str:
        """One that the model need not know."""
        return f"{self.rng.getrandbits(64):016x}"

    def _token(self) -> str:
        token = f"{self.rng.getrandbits(64):016x}"
        self.tokens.append(token)
        return token
