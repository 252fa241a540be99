"""The oracle: sees every command as it reaches the broker and every frame as the broker makes it, and compares.

It follows the phases of a turn. Commands: each must be answered as the model says, at once. Dispatch: what is delivered
from a queue must be its first messages. Release: a confirm may only leave when what it promises is in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.sim.delaying import STORE, Held
from tests.sim.durable import Durable, Stored
from tests.sim.letters import properties_of, split_count
from tests.sim.model import (
    DISPATCH,
    RELEASE,
    Channel,
    Connection,
    Consumer,
    Delivery,
    Expected,
    Place,
    Spot,
    Violation,
)
from tests.sim.overdue import check_in_time
from tests.sim.policing import Policing
from tests.sim.receipts import ACKED
from tests.sim.receipts import TYPE as RECEIPT
from tests.sim.repeats import Seen, Window, check_producers, check_window
from tests.sim.restart import rebuild
from tests.sim.shares import check_shares, check_turn_of, first_in_line
from tests.sim.streaming import rebuild_streams
from tests.sim.topology import Entry, Queue
from tests.sim.wire import HEARTBEAT, ID_BYTES, Item, Message, parse_content


class Oracle(Policing):
    """`phase`: what the broker is doing now."""

    def __init__(self, durable: Durable) -> None:
        super().__init__()
        self._told: dict[int, tuple[m.Method, tuple[str, int]]] = {}
        """Replies that are not written yet, by id, and (name, incarnation) of the durable queues in them."""
        self.durable = durable
        self.fenced = False
        """Another owner has taken the log: what is not in it now will be refused."""
        self._seen: dict[Connection, list[Item]] = {}
        self._served: dict[Queue, None] = {}

    def in_vhost(self, vhost: str) -> Oracle | None:
        """What knows of this virtual host; None if there is no such."""
        return self

    def home(self, connection: Connection) -> Oracle:
        """What knows of this connection."""
        return self

    def restart(self) -> None:
        """The broker is gone, and a new one has read the log."""
        self.read_log()
        self.forget_rotas()
        for connection in list(self.connections):
            connection.desk = None
            self.end_connection(connection)
        self.cancelled.clear()
        self.tokens.clear()
        self._seen.clear()
        self.fenced = False
        self.forget_moves()
        self.durable.links.clear()
        known = self.topology.choices
        self.recalled.intersection_update(
            self.durable.places
        )  # others may take the places of the rest
        producers_max = self.topology.producers_max
        self.topology = rebuild(
            self.durable, self._find_stored, self.now_ms, self.recalled, producers_max
        )
        self.topology.choices = known
        rebuild_streams(self, self.durable)
        for queue in self.topology.queues.values():
            queue.used_ms = self.now_ms
        self.store.restart()
        for place, stored in self.durable.live().items():
            if place[0] == STORE:
                message = self._find_held(stored)
                self.store.bring_back(message, *stored.held, place[2])
        for owner, window in self._windows():
            for ident, until_ms in self.durable.windows.get(owner, {}).items():
                window.ids[ident] = Seen(until_ms, True, [])

    def _windows(self) -> Iterator[tuple[tuple[str, str], Window]]:
        """What outlives restarts of what was seen."""
        for exchange in self.topology.exchanges.values():
            if exchange.window is not None and exchange.durable:
                yield ("exchange", exchange.name), exchange.window
        for queue in self.topology.queues.values():
            if queue.window is not None and queue.logged:
                yield ("queue", queue.name), queue.window

    def _find_held(self, stored: Stored) -> Message:
        header, body = parse_content(stored.frames)
        message = self.kept.get((header, body[:ID_BYTES]))
        if message is None or message.body != body:
            _fail(f"the log holds {len(body)} bytes back that nobody has published")
        return message

    def stored(self, place: Place) -> Stored | None:
        """See `Streaming`."""
        self.read_log()
        return self.durable.places.get(place)

    # -- what the broker sends

    def on_output(self, connection: Connection, items: list[Item]) -> None:
        """The broker has made these frames, all at once."""
        for item in items:
            method = item.method
            if isinstance(method, m.BasicDeliver):
                self._on_deliver(connection, item, method)
            elif isinstance(method, (m.BasicAck, m.BasicNack)) and self.phase == RELEASE:
                nacked = isinstance(method, m.BasicNack)
                self.confirm(connection, item.channel, method.delivery_tag, method.multiple, nacked)
            elif isinstance(method, m.TxCommitOk):
                self._on_commit(connection, item.channel, False)
            elif (
                isinstance(method, m.ChannelClose)
                and method.class_id == m.TxCommit.ID >> 16
                and self.phase == RELEASE
            ):
                self._on_commit(connection, item.channel, True)
                self._seen.setdefault(connection, []).append(item)
            elif isinstance(method, m.ConnectionBlocked):
                self._on_blocked(connection, True)
            elif isinstance(method, m.ConnectionUnblocked):
                self._on_blocked(connection, False)
            elif method != HEARTBEAT:
                self._seen.setdefault(connection, []).append(item)

    def _on_deliver(self, connection: Connection, item: Item, method: m.BasicDeliver) -> None:
        channel = self._channel(connection, item.channel, "a delivery")
        consumer = channel.consumers.get(method.consumer_tag)
        what = f"{connection.name} channel {item.channel}: delivery {method.delivery_tag}"
        if consumer is None:
            _fail(f"{what} to consumer {method.consumer_tag}, which there is not")
        if self.phase != DISPATCH:
            _fail(f"{what} outside of the end of a turn")
        queue = consumer.queue
        if queue.stream is not None:
            self._on_read(channel, consumer, item, method)
            return
        message, count = self._find_counted(item)
        self.hand_out(channel, consumer, method, message, count)

    def hand_out(
        self,
        channel: Channel,
        consumer: Consumer,
        method: m.BasicDeliver,
        message: Message,
        count: int,
    ) -> None:
        """A consumer is given a message of its queue, which was given back so often."""
        queue = consumer.queue
        what = f"{channel.connection.name} channel {channel.number}: {method.delivery_tag}"
        entry = queue.take(message)
        what = f"{what} of {message!r} from {queue.name}"
        if entry is None:
            _fail(f"{what}, where it is not ready")
        if entry.deliveries != count:
            _fail(f"{what}: it was given back {entry.deliveries} times, not {count}")
        fresh = entry.turn >= self.turn and not entry.delivered
        if entry.expires_ms is not None and entry.expires_ms <= self.now_ms and not fresh:
            _fail(f"{what}, which has expired at {entry.expires_ms}")
        if queue.enforced:
            _fail(f"{what}, which has dropped what was too much before")
        if not channel.room(consumer) or not channel.connection.writable:
            _fail(
                f"{what}: consumer {consumer.unsettled}/{consumer.limit}, "
                f"channel {channel.unsettled}/{channel.limit}, "
                f"writable {channel.connection.writable}"
            )
        check_turn_of(consumer, what)
        self._check_names(channel, method, message, what)
        self._check_first(channel, queue, entry, method.redelivered, what)
        if queue.group is not None and not count:
            self.mean(queue.group.source, entry.position, message.header, message.body)
        queue.taken.append(entry)
        entry.turn = min(entry.turn, self.turn)  # its queue has taken it, whoever gives it back
        entry.handed += 1
        consumer.got += 1
        self._served[queue] = None
        self._fly(channel, consumer, entry, method)

    def _on_read(
        self, channel: Channel, consumer: Consumer, item: Item, method: m.BasicDeliver
    ) -> None:
        what = f"{channel.connection.name} channel {channel.number}: {method.delivery_tag}"
        entry = self.read(consumer, item.header, item.body, what)
        if not channel.room(consumer) or not channel.connection.writable or method.redelivered:
            _fail(f"{what} at {entry.position}: {consumer.unsettled}/{consumer.limit}, {method}")
        self._check_names(channel, method, entry.message, what)
        self._fly(channel, consumer, entry, method)

    def _check_names(
        self, channel: Channel, method: m.BasicDeliver, message: Message, what: str
    ) -> None:
        if method.delivery_tag != channel.next_tag:
            _fail(f"{what}: tag {channel.next_tag} is due")
        if (method.exchange, method.routing_key) != (message.exchange, message.key):
            _fail(f"{what} names {method.exchange}, {method.routing_key}")
        channel.next_tag += 1

    def _fly(
        self, channel: Channel, consumer: Consumer, entry: Entry, method: m.BasicDeliver
    ) -> None:
        queue = consumer.queue
        if not consumer.no_ack:
            channel.unacked[method.delivery_tag] = Delivery(
                method.delivery_tag, entry, queue, consumer, self.now_ms, consumer.timeout_ms
            )
            channel.unsettled += 1
            consumer.unsettled += 1
            queue.in_flight += 1
        else:
            self.end(queue, entry, ACKED, consumer.tag)

    def _check_first(
        self, channel: Channel, queue: Queue, entry: Entry, redelivered: bool, what: str
    ) -> None:
        if redelivered != entry.delivered:
            _fail(
                f"{what}: redelivered is {redelivered}, it was delivered before: {entry.delivered}"
            )
        if entry.delivered:
            return
        entry.delivered = True
        if queue.group is not None and queue.group.rota is not None:
            if entry.position < queue.group.first_due:
                _fail(f"{what}: {queue.group.first_due} came before {entry.position}")
            queue.group.first_due = entry.position + 1
        last = channel.last_first.get((queue, entry.level), -1)
        if entry.position <= last:
            _fail(f"{what} at position {entry.position} comes behind {last}")
        channel.last_first[queue, entry.level] = entry.position

    def confirm(
        self, connection: Connection, number: int, tag: int, multiple: bool, nacked: bool
    ) -> None:
        """The broker says that it has this publish on a channel, or all up to it, or that it has not."""
        channel = self._channel(connection, number, "a confirm")
        what = f"{connection.name} channel {number}: confirm of {tag}"
        if tag not in channel.pending:
            _fail(f"{what}: {'nothing' if tag > channel.published else 'no longer'} waits for it")
        for each in [each for each in channel.pending if each == tag or (multiple and each < tag)]:
            publish = channel.pending.pop(each)
            if publish.rejected != nacked and not (nacked and self.fenced):
                _fail(f"{what}: number {each} was {'rejected' if publish.rejected else 'accepted'}")
            if not nacked:
                self._check_durable(publish.needs, f"{what}, number {each}")

    def _on_commit(self, connection: Connection, number: int, refused: bool) -> None:
        """The end of a commit; `refused`: it closes the channel, since full queues took only a part."""
        channel = self._channel(connection, number, "the end of a commit")
        what = f"{connection.name} channel {number}: {'refusal' if refused else 'tx.commit-ok'}"
        if self.phase != RELEASE:
            _fail(f"{what} outside of its time")
        if not channel.commits:
            _fail(f"{what} that nobody waits for")
        commit = channel.commits.popleft()
        if commit.refused != refused:
            _fail(f"{what}, but full queues refused {'some' if commit.refused else 'none'} of it")
        self._check_durable(commit.needs, what)
        self.read_log()
        for queue, entry in commit.settles:
            stored = self.durable.places.get(queue.place(entry.position))
            if stored is None or not stored.settled:
                _fail(f"{what}: the settlement of {queue.place(entry.position)} is not in the log")
        if refused:
            self.end_channel(channel)
            channel.closing = True
            connection.expect(number, m.ChannelClose(406, "", 90, 20))

    def _on_blocked(self, connection: Connection, blocked: bool) -> None:
        if not connection.tells_blocked or connection.told_blocked == blocked:
            _fail(f"{connection.name} is told that it is {'' if blocked else 'not '}blocked")
        connection.told_blocked = blocked

    def _check_durable(self, needs: list[Spot], what: str) -> None:
        if needs:
            self.read_log()
            for queue, entry in needs:
                if queue.place(entry.position) not in self.durable.places:
                    _fail(f"{what}: {queue.place(entry.position)} is not in the log")

    def _channel(self, connection: Connection, number: int, what: str) -> Channel:
        channel = connection.channels.get(number)
        if channel is None or channel.closing or connection.state != "open":
            _fail(f"{connection.name}: {what} on channel {number}, which is closed")
        return channel

    def _find(self, item: Item) -> Message:
        """The message that these bytes are, every one of them."""
        message = self.message(item.header, item.body)
        if message is None:
            _fail(f"{item.name}: {len(item.body)} bytes that nobody has published")
        return message

    def _find_returned(self, item: Item) -> Message:
        """The same of a message that may have been about to be held back."""
        message = self.kept.get((item.header, item.body[:ID_BYTES]))
        return message if message is not None and message.body == item.body else self._find(item)

    def message(self, header: bytes, body: bytes) -> Message | None:
        """The message that these bytes are, every one of them."""
        message = self.messages.get((header, body[:ID_BYTES]))
        return message if message is not None and message.body == body else None

    def _find_stored(self, header: bytes, body: bytes) -> Message | None:
        """The same of what is in the log, of whose properties it may be the first to know the bytes."""
        message = self.message(header, body)
        if message is not None:
            return message
        properties = properties_of(header)
        for each in self.variants.get(_number_in(properties, body), ()):
            if each.body == body and properties_of(each.header) == properties:
                return self.adopt(each, header)
        return None

    def _find_counted(self, item: Item) -> tuple[Message, int]:
        """The message, and how often it was given back as its headers say."""
        message = self.message(item.header, item.body)
        if message is not None:
            return message, 0
        properties, count = split_count(item.header)
        for each in self.variants.get(_number_in(properties, item.body), ()):
            if each.body == item.body and split_count(each.header)[0] == properties:
                return each, count
        _fail(f"{item.name}: {len(item.body)} bytes that nobody has published: {properties}")

    # -- what is compared at the end of a phase

    def end_commands(self) -> None:
        """All that has arrived is applied: every reply must be there, and nothing else."""
        self.end_moves()
        seen, self._seen = self._seen, {}
        for connection, items in seen.items():
            self._compare(connection, items)
        for connection in self.connections:
            if connection.desk is not None:
                connection.desk.end_phase()
            if connection.expected or connection.returns:
                self._compare(connection, [])
        self.meant.clear()

    def _compare(self, connection: Connection, items: list[Item]) -> None:
        replies: list[Item] = []
        returned: list[tuple[int, int, int]] = []
        for item in items:
            if isinstance(item.method, m.BasicReturn):
                number = self._find_returned(item).number
                returned.append((item.channel, number, item.method.reply_code))
            elif isinstance(item.method, m.BasicAck):
                self._check_early(connection, item.channel, item.method)
            else:
                replies.append(item)
        if sorted(returned) != sorted(connection.returns):
            _fail(f"{connection.name}: returned {returned}, expected {connection.returns}")
        connection.returns.clear()
        connection.early.clear()
        expected = connection.expected
        for i in range(max(len(replies), len(expected))):
            if i >= len(replies) or i >= len(expected) or not self._same(replies[i], expected[i]):
                _fail(
                    f"{connection.name}: got {replies[i] if i < len(replies) else 'nothing'}, "
                    f"expected {expected[i] if i < len(expected) else 'nothing'}"
                )
            self._tell(replies[i].method, expected[i][1])
        expected.clear()

    def _tell(self, found: m.Method | str, expected: m.Method) -> None:
        """A client is to be told this: the queue in it has to be in the log by then."""
        _, queue = self.meant.get(id(expected), (None, None))
        if queue is not None and queue.logged and isinstance(found, m.QueueDeclareOk):
            self._told[id(found)] = found, (queue.name, queue.incarnation)

    def _check_early(self, connection: Connection, number: int, method: m.BasicAck) -> None:
        numbers = connection.early.get(number, range(0))
        tag = method.delivery_tag
        if tag not in numbers or method.multiple != (tag > numbers[0]):
            _fail(f"{connection.name} channel {number}: {method}, safe are {numbers}")

    def _same(self, item: Item, expected: Expected) -> bool:
        number, method, message, deliveries = expected
        found = item.method
        if isinstance(found, (m.ChannelClose, m.ConnectionClose)):
            found.reply_text = found.reply_text if getattr(method, "reply_text", "") else ""
        if item.channel != number:
            return False
        if isinstance(found, (m.ConnectionStart, m.ConnectionTune)):
            return type(found) is type(method)
        if found != method or message is None:
            return found == method
        return self._find_counted(item) == (message, deliveries)

    def end_dispatch(self, spent: set[int]) -> None:
        """Deliveries of a turn are made; `spent`: ids of connections that were sent all that they may be in a turn."""
        for connection in self.connections:
            check_in_time(connection, self.now_ms)
        for queue in self._served:
            check_shares(queue, spent)
            self.flush(queue)
        self._served.clear()
        for queue in self.topology.all_queues():
            self.enforce_bounds(queue)
        for channel, tag in self.cancelled:
            if channel.connection.tells_cancel and not channel.closing:
                channel.connection.expect(channel.number, m.BasicCancel(tag, True))
        self.cancelled.clear()
        for connection in self.connections:
            if connection.desk is not None:
                connection.desk.end_dispatch()
            for ended in connection.channels.values():
                for commit in ended.commits:
                    commit.sealed = True
        self.turn += 1
        self.end_commands()

    def check_served(self, gated: set[int]) -> None:
        """The broker has nothing left to do, so nobody waits for a message that is there; `gated`: ids of connections
        that are told nothing before the log has caught up."""
        for queue in self.topology.queues.values():
            if queue.stream is not None:
                reader = self.unserved(queue, lambda each: id(each.channel.connection) not in gated)
                if reader is not None:
                    _fail(
                        f"{queue} has entries for {reader.tag} at {reader.offset}, nothing happens"
                    )
                continue
            if not queue.ready or queue.head_expired(self.now_ms):
                continue
            if queue.group is not None and any(each.queue is queue for each in self.dying):
                continue  # what is not written again yet is in flight for those who wait for a partition
            for consumer in first_in_line(queue):
                connection = consumer.channel.connection
                if id(connection) not in gated:
                    _fail(
                        f"queue {queue.name} has {len(queue.ready)} ready, consumer {consumer.tag} "
                        f"of {connection.name} has room, and nothing happens"
                    )

    def on_written(self, method: m.Method) -> None:
        """A client is told something: what is durable by name must be in the log."""
        told = self._told.pop(id(method), None)
        if told is not None and not self.fenced:
            self.read_log()
            if told[1] not in self.durable.declared.values():
                _fail(f"{method} is told, but the log does not know the queue")

    def end_release(
        self, nothing_waits: bool, lost: bool, refused: Sequence[Connection] = ()
    ) -> None:
        """Confirms were sent. `lost`: nothing will be durable any more, so who has committed is turned away, and those
        who were `refused` because they wait for it."""
        if lost:
            told = list(self._seen)  # in this order what they held went back
            others = [each for each in self.connections if each not in self._seen]
            for connection in [each for each in told if each in self.connections] + others:
                channels = connection.channels.values()
                if connection in refused or any(
                    commit.sealed for channel in channels for commit in channel.commits
                ):
                    self.end_session(connection)
                    connection.state = "closing"
                    connection.expect(0, m.ConnectionClose(506, "", 90, 20))
        self.end_commands()
        if not nothing_waits:
            return
        for connection in self.connections:
            for channel in connection.channels.values():
                if channel.pending or channel.commits:
                    _fail(
                        f"{connection.name} channel {channel.number} waits for confirms "
                        f"{list(channel.pending)}, {len(channel.commits)} commits"
                    )

    def check_log(self) -> None:
        """The log holds the messages that a restart has to bring back: those that are there now, byte for byte."""
        self.read_log()
        stored = self.durable.live()
        for queue in self.topology.all_queues():
            if queue.logged:
                for entry in queue.ready:
                    self._check_stored(queue, entry, stored)
                for each in queue.deferred:
                    self._check_stored(queue, each.entry, stored)
        for connection in self.connections:
            for channel in connection.channels.values():
                held = list(channel.unacked.values())
                for deliveries, _ in channel.tx.settled if channel.tx is not None else ():
                    held += deliveries
                for delivery in held:
                    if delivery.queue.stream is not None:
                        continue
                    if delivery.queue.logged and not delivery.queue.deleted:
                        self._check_stored(delivery.queue, delivery.entry, stored)
        for held in self.store.held.values():
            if held.message.persistent:
                self._check_held(held, stored.pop(self.store.place(held), None))
        for dying in self.dying:
            if dying.queue.logged:
                self._check_stored(dying.queue, dying.entry, stored)
        if stored:
            _fail(f"the log would bring back {list(stored)}")
        for owner, window in self._windows():
            logged = self.durable.windows.get(owner, {})
            fault = check_window(" ".join(owner), window, logged, self.now_ms)
            if fault:
                _fail(fault)
        for queue in self.topology.queues.values():
            if queue.stream is not None and queue.stream.producers is not None:
                logged = self.durable.windows.get(("queue", queue.name), {})
                fault = check_producers(repr(queue), queue.stream.producers, logged)
                if fault:
                    _fail(fault)
        self._check_settled()

    def _check_held(self, held: Held, found: Stored | None) -> None:
        if found is None:
            _fail(f"{held} is not in the log")
        traits = held.message, held.order, held.message.priority, held.message.expiration_ms
        if (self._find_held(found), found.held, found.priority, found.expiration_ms) != traits:
            _fail(f"the log has {found.held} for {held}")

    def _check_settled(self) -> None:
        """What groups have settled, or begin behind, they do not get again."""
        for queue in self.topology.queues.values():
            if queue.group is None or not queue.logged:
                continue
            unsettled = set(self.unsettled(queue))
            for entry in queue.group.source.ready:
                if queue.group.begin <= entry.position < queue.group.next:
                    stored = self.durable.places.get(queue.place(entry.position))
                    settled = stored is not None and stored.settled
                    if settled == (entry.position in unsettled):
                        _fail(f"group {queue.name}: {entry.position} is settled: {settled}")

    def read_log(self) -> None:
        """Reads what has landed, and what of it has to be in one entry."""
        self.durable.links += self.links
        self.links.clear()
        self.durable.update()

    def _check_stored(self, queue: Queue, entry: Entry, stored: dict[Place, Stored]) -> None:
        message = entry.message
        if not message.persistent:
            return
        if queue.group is not None:
            self._check_fed(queue, entry)
            return
        found = stored.pop(queue.place(entry.position), None)
        if found is None:
            _fail(f"queue {queue.name}: {message!r} at {entry.position} is not in the log")
        given_back = entry.deliveries + entry.returned
        if found.deliveries != given_back:
            _fail(
                f"queue {queue.name}: the log counts {found.deliveries} for {message!r}, "
                f"given back {given_back} times"
            )
        if (found.arrived_ms, found.priority) != (entry.arrived_ms, entry.priority):
            _fail(
                f"queue {queue.name}: {message!r} came at {entry.arrived_ms}, {found} says the log"
            )
        header, body = parse_content(found.frames)
        if header != message.header or body != message.body:
            _fail(f"queue {queue.name}: the log has other bytes for {message!r}")
        if not entry.due[0] <= found.due_ms <= entry.due[1]:
            _fail(
                f"queue {queue.name}: {entry} is to be tried at {entry.due}, "
                f"at {found.due_ms} says the log"
            )

    def _check_fed(self, queue: Queue, entry: Entry) -> None:
        found = self.durable.places.get(queue.place(entry.position))
        deliveries, due_ms = (found.deliveries, found.due_ms) if found is not None else (0, 0)
        if found is not None and found.settled:
            _fail(f"group {queue.name}: {entry} is settled in the log")
        if deliveries != entry.deliveries or not entry.due[0] <= due_ms <= entry.due[1]:
            _fail(
                f"group {queue.name}: {entry} was given back {entry.deliveries} times, not {found}"
            )


def _number_in(properties: Properties, body: bytes) -> int:
    """The number of the message that these belong to, or that this is the receipt of."""
    if properties.type == RECEIPT and properties.correlation_id is not None:
        return int(properties.correlation_id)
    if len(body) < ID_BYTES and properties.message_id is not None:
        return int(properties.message_id)
    return int.from_bytes(body[:ID_BYTES], "big")


def _fail(text: str) -> NoReturn:
    raise Violation(text)
