"""What the oracle expects each method of a client to do: its reply or refusal, and its effect on the model.

Codes are those of RabbitMQ 3.10.8; texts are looked at where there is one here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from tests.sim.definitions import Definitions, Reply
from tests.sim.delaying import key_of
from tests.sim.model import (
    COMMITTED,
    REFUSED,
    Channel,
    Commit,
    Connection,
    Consumer,
    Delivery,
    Publish,
    Refused,
    Spot,
    Violation,
)
from tests.sim.model import Transaction as Tx
from tests.sim.moves import DUPLICATE
from tests.sim.receipts import ACKED, REPEATED, asked_of
from tests.sim.repeats import id_of
from tests.sim.streams import OFFSET
from tests.sim.topology import Queue
from tests.sim.wire import ID_BYTES, REPLY_TO, Message

HARD = (501, 502, 503, 504, 505, 530, 540, 541)


class Commands(Definitions):
    """Applies the commands of clients in the order in which they reached the broker."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[tuple[bytes, bytes], Message] = {}
        """By header payload and the first bytes of the body: one of these has the number."""
        self.kept: dict[tuple[bytes, bytes], Message] = {}
        """The same of delayed messages, by the header payload that they are held with."""
        self.variants: dict[int, list[Message]] = {}
        """By number: as they were published, and as they were written again."""
        self.chosen: dict[tuple[bytes, bytes], set[str]] = {}
        """Queues that the broker has just chosen, by header payload and body: chance may decide."""
        self.consumer_timeout_ms = 0

    def timeout_ms(self, queue: Queue) -> int:
        """Of deliveries from the queue, unless their consumer has its own; 0: none."""
        return self.consumer_timeout_ms if queue.timeout_ms is None else queue.timeout_ms

    def timeout_of(self, consumer: Consumer) -> int:
        """Of what a consumer gets; 0: none."""
        if consumer.no_ack:
            return 0
        own_ms = consumer.own_timeout_ms
        return self.timeout_ms(consumer.queue) if own_ms is None else own_ms

    def add_message(self, message: Message) -> None:
        """A message that a client publishes; the oracle knows it by its bytes."""
        self.messages[message.header, message.body[:ID_BYTES]] = message
        if message.delay_ms:
            self.kept[key_of(message)] = message
        variants = self.variants.setdefault(message.number, [])
        if message not in variants:
            variants.append(message)

    def adopt(self, message: Message, header: bytes) -> Message:
        """See `Moves`."""
        known = self.messages.get((header, message.body[:ID_BYTES]))
        if known is not None:
            return known
        message.header = header
        self.add_message(message)
        return message

    def apply(
        self, connection: Connection, number: int, method: m.Method, message: Message | None
    ) -> None:
        """One method, complete with its content, has reached the broker."""
        if connection.state == "closed":
            return
        if connection.state != "open":
            self._apply_before_or_after(connection, method)
            return
        if number == 0:
            assert isinstance(method, m.ConnectionClose), method
            self.end_session(connection)
            connection.state = "closed"
            connection.expect(0, m.ConnectionCloseOk())
            return
        channel = connection.channels.get(number)
        if channel is None:
            assert isinstance(method, m.ChannelOpen), method
            self.open_channel(connection, number)
        elif channel.closing:
            if isinstance(method, m.ChannelClose):
                connection.expect(number, m.ChannelCloseOk())
            elif isinstance(method, m.ChannelCloseOk):
                del connection.channels[number]
        else:
            self._apply_on_channel(channel, method, message)

    def open_channel(self, connection: Connection, number: int) -> None:
        """The connection has one more."""
        connection.channels[number] = Channel(connection, number)
        connection.expect(number, m.ChannelOpenOk())

    def admit(self, channel: Channel, method: m.Method, message: Message | None) -> None:
        """Refused, if the user may not do that."""

    def is_forged(self, channel: Channel, message: Message) -> bool:
        """Whether a message says that it is from somebody else, which its user may not say."""
        return message.user_id not in (None, "guest")

    def _apply_before_or_after(self, connection: Connection, method: m.Method) -> None:
        if isinstance(
            method, m.ConnectionStart
        ):  # stands for the protocol header, which asks for it
            connection.expect(0, method)
        elif isinstance(method, m.ConnectionStartOk):
            capabilities: Any = method.client_properties.get("capabilities", {})
            connection.tells_cancel = capabilities.get("consumer_cancel_notify") is True
            connection.tells_blocked = capabilities.get("connection.blocked") is True
            connection.expect(0, m.ConnectionTune())
        elif isinstance(method, m.ConnectionTuneOk):
            connection.heartbeat_s = method.heartbeat
        elif isinstance(method, m.ConnectionOpen):
            connection.state = "open"
            connection.expect(0, m.ConnectionOpenOk())
        elif connection.state == "closing":
            if isinstance(method, m.ConnectionClose):
                connection.expect(0, m.ConnectionCloseOk())
            if isinstance(method, (m.ConnectionClose, m.ConnectionCloseOk)):
                connection.state = "closed"

    def _apply_on_channel(
        self, channel: Channel, method: m.Method, message: Message | None
    ) -> None:
        try:
            self.admit(channel, method, message)
            if message is not None:
                self._publish(channel, message)
            else:
                reply = HANDLERS[type(method)](self, channel, method)
                if reply is not None and not getattr(method, "no_wait", False):
                    channel.connection.expect(channel.number, *reply)
        except Refused as refused:
            self._refuse(channel, refused, method.ID)

    def _refuse(self, channel: Channel, refused: Refused, ident: int) -> None:
        connection, code, text = channel.connection, refused.code, refused.text
        ids = (ident >> 16, ident & 0xFFFF)
        if code in HARD:
            self.end_session(connection)
            connection.state = "closing"
            connection.expect(0, m.ConnectionClose(code, text, *ids))
        else:
            numbers = list(takewhile(lambda each: channel.pending[each].unrouted, channel.pending))
            if numbers:
                connection.early[channel.number] = range(numbers[0], numbers[-1] + 1)
            self.end_channel(channel)
            channel.closing = True
            connection.expect(channel.number, m.ChannelClose(code, text, *ids))

    def _publish(self, channel: Channel, message: Message) -> None:
        exchange = self._exchange(message.exchange)
        if exchange.internal:
            raise Refused(403)
        if self.is_forged(channel, message):
            raise Refused(406)
        if message.asks_reply is not None:
            self._set_reply_to(channel, message, message.asks_reply)
        message.window = exchange.window
        queues: list[Queue] | None = []
        if not message.delay_ms:
            names = self.chosen.get((message.header, message.body))
            queues = self.topology.route(message, names)
            if queues is None:
                raise Violation(f"{message!r} went to {names}")
        if channel.tx is not None:
            channel.tx.publishes.append((message, queues))
            return
        number = 0
        if channel.confirming:
            number = channel.published = channel.published + 1
        needs = self._take(channel, message, queues, number)
        if channel.confirming:
            unrouted = not message.delay_ms and all(queue.deleted for queue in queues)
            channel.pending[number] = Publish(needs, unrouted)

    def _take(
        self, channel: Channel, message: Message, queues: list[Queue], number: int
    ) -> list[Spot]:
        """It comes into its queues, or is held back; what has to be in the log."""
        if message.delay_ms:
            return self._hold(channel, message, number)
        return self.enqueue(channel, message, queues, number)

    def _hold(self, channel: Channel, message: Message, number: int) -> list[Spot]:
        """It is held back, unless it is a duplicate for its exchange; what has to be in the log."""
        ident, window = id_of(message.headers), message.window
        if ident is None or window is None:
            return self.store.hold(channel, message, self.now_ms)
        seen = window.find(ident, self.now_ms)
        if seen is not None:
            if message.mandatory:
                channel.connection.returns.append((channel.number, message.number, DUPLICATE))
            self.go_nowhere(message, REPEATED)
            seen.followers.append((channel, number))
            return list(seen.needs)
        needs = self.store.hold(channel, message, self.now_ms)
        window.remember(message.headers, message.persistent, needs, self.now_ms)
        return needs

    def _set_reply_to(self, channel: Channel, message: Message, properties: Properties) -> None:
        """The address of the channel's reply queue takes the place of the general one."""
        if channel.reply_queue is None:
            raise Refused(406)
        mine = replace(properties, reply_to=channel.reply_queue.name)
        message.header = message.kept = encode_header_payload(len(message.body), mine)
        message.asks_receipt = asked_of(mine)
        self.add_message(message)

    # -- consumers

    def basic_qos(self, channel: Channel, method: m.BasicQos) -> Reply:
        channel.limit = method.prefetch_count if method.global_ else 0
        if not method.global_:
            channel.new_consumer_limit = method.prefetch_count
        return (m.BasicQosOk(),)

    def basic_consume(self, channel: Channel, method: m.BasicConsume) -> Reply:
        tag = method.consumer_tag or f"amq.ctag-{self.tokens.popleft()}"
        if method.queue == REPLY_TO:
            queue = self._declare_reply_queue(channel, method)
        if tag in channel.consumers:
            raise Refused(530)
        if method.queue != REPLY_TO:
            queue = self._queue(channel, method.queue)
        exclusive = method.exclusive
        if queue.stream is not None:
            self._check_reader(channel, method)
            exclusive = False
        taken = any(consumer.exclusive for consumer in queue.consumers)
        arguments: dict[str, Any] = dict(method.arguments)
        weight = arguments.get("x-weight", 1)
        if not isinstance(weight, int) or weight < 1:
            raise Refused(406)
        if taken or (exclusive and (queue.consumers or queue.single)):
            raise Refused(403)
        consumer = Consumer(
            tag,
            channel,
            queue,
            method.no_ack,
            exclusive,
            channel.new_consumer_limit,
            arguments.get("x-priority", 0),
            weight,
        )
        consumer.own_timeout_ms = arguments.get("x-consumer-timeout")
        consumer.timeout_ms = self.timeout_of(consumer)
        if queue.stream is not None:
            self.pump()
            consumer.offset = queue.stream.begin(arguments.get(OFFSET), self.now_ms)
        channel.consumers[tag] = consumer
        queue.consumers.append(consumer)
        if queue.single and queue.active is None:
            queue.active = consumer
        self.divide(queue)
        return (m.BasicConsumeOk(tag),)

    def _check_reader(self, channel: Channel, method: m.BasicConsume) -> None:
        if "x-priority" in method.arguments or not channel.new_consumer_limit:
            raise Refused(406)
        if method.no_ack or channel.limit:
            raise Refused(540)

    def _declare_reply_queue(self, channel: Channel, method: m.BasicConsume) -> Queue:
        known = channel.reply_queue
        if not method.no_ack or (known is not None and not known.deleted):
            raise Refused(406)
        owner = channel.connection
        name = f"{REPLY_TO}.{self.tokens.popleft()}"
        queue = self.topology.add_queue(name, False, True, owner, {})
        owner.owned[name] = channel.reply_queue = queue
        return queue

    def basic_cancel(self, channel: Channel, method: m.BasicCancel) -> Reply:
        consumer = channel.consumers.get(method.consumer_tag)
        if consumer is not None:
            self.cancel(consumer)
        if channel.reply_queue is not None and channel.reply_queue.deleted:
            channel.reply_queue = None
        return (m.BasicCancelOk(method.consumer_tag),)

    def basic_get(self, channel: Channel, method: m.BasicGet) -> Reply:
        queue = self._queue(channel, method.queue)
        if queue.stream is not None:
            self.pump(looking=True)
            raise Refused(540)
        queue.used_ms = self.now_ms
        self.pump(looking=True)
        self.looked_over(queue)
        if not queue.ready or queue.head_expired(self.now_ms):
            self.answered("get", queue)
            return (m.BasicGetEmpty(),)
        entry = queue.take_head()
        entry.handed += 1
        if method.no_ack:
            self.end(queue, entry, ACKED)
        self.answered("get", queue)
        again, entry.delivered = entry.delivered, True
        tag = channel.next_tag
        channel.next_tag += 1
        if not method.no_ack:
            queue.in_flight += 1
            timeout_ms = self.timeout_ms(queue)
            channel.unacked[tag] = Delivery(tag, entry, queue, None, self.now_ms, timeout_ms)
        if not again:
            channel.last_first[queue, entry.level] = entry.position
        message = entry.message
        reply = m.BasicGetOk(tag, again, message.exchange, message.key, len(queue.ready))
        return reply, message, entry.deliveries

    # -- settling

    def basic_ack(self, channel: Channel, method: m.BasicAck) -> None:
        self._settle(channel, method.delivery_tag, method.multiple, "accept")

    def basic_nack(self, channel: Channel, method: m.BasicNack) -> None:
        outcome = "requeue" if method.requeue else "reject"
        self._settle(channel, method.delivery_tag, method.multiple, outcome)

    def basic_reject(self, channel: Channel, method: m.BasicReject) -> None:
        outcome = "requeue" if method.requeue else "reject"
        self._settle(channel, method.delivery_tag, False, outcome)

    def _settle(self, channel: Channel, tag: int, multiple: bool, outcome: str) -> None:
        if multiple and tag == 0:
            deliveries = self.take_unacked(channel)
        elif tag not in channel.unacked and tag not in channel.withdrawn:
            raise Refused(406)
        elif multiple:
            tags = sorted(each for each in channel.unacked if each <= tag)
            deliveries = [channel.unacked.pop(each) for each in tags]
        elif tag in channel.withdrawn:
            return
        else:
            deliveries = [channel.unacked.pop(tag)]
        if channel.tx is not None:
            channel.tx.settled.append((deliveries, outcome))
        else:
            if outcome != "accept":
                self._check_refusal(deliveries)
            self._finish(deliveries, outcome)

    def _check_refusal(self, deliveries: list[Delivery]) -> None:
        """What was read from a stream cannot be given back."""
        if any(_is_kept(each) for each in deliveries):
            self.requeue(deliveries)
            raise Refused(540)

    def _finish(self, deliveries: list[Delivery], outcome: str) -> list[Spot]:
        """What of it has to be in the log."""
        if outcome == "accept":
            return self.accept(deliveries)
        if outcome == "reject":
            return self.reject(deliveries)
        self.requeue(deliveries, REFUSED)
        return []

    def basic_recover(self, channel: Channel, method: m.BasicRecover) -> Reply:
        self.basic_recover_async(channel, m.BasicRecoverAsync(True))
        return (m.BasicRecoverOk(),)

    def basic_recover_async(self, channel: Channel, method: m.BasicRecoverAsync) -> None:
        deliveries = self.take_unacked(channel)
        self._check_refusal(deliveries)
        self.requeue(deliveries)

    # -- confirms, transactions and the channel

    def confirm_select(self, channel: Channel, method: m.ConfirmSelect) -> Reply:
        if channel.tx is not None:
            raise Refused(406)
        channel.confirming = True
        return (m.ConfirmSelectOk(),)

    def tx_select(self, channel: Channel, method: m.TxSelect) -> Reply:
        if channel.confirming:
            raise Refused(406)
        channel.tx = channel.tx or Tx()
        return (m.TxSelectOk(),)

    def tx_commit(self, channel: Channel, method: m.TxCommit) -> None:
        if channel.tx is None:
            raise Refused(406)
        refused = [each for each, outcome in channel.tx.settled if outcome != "accept"]
        if any(_is_kept(each) for deliveries in refused for each in deliveries):
            raise Refused(540)
        tx = channel.tx
        commit = Commit([], [])
        channel.commits.append(commit)
        for message, queues in tx.publishes:
            commit.needs += self._take(channel, message, queues, COMMITTED)
        channel.tx = Tx()
        for deliveries, outcome in tx.settled:
            commit.settles += self._finish(deliveries, outcome)

    def tx_rollback(self, channel: Channel, method: m.TxRollback) -> Reply:
        if channel.tx is None:
            raise Refused(406)
        self.roll_back(channel)
        return (m.TxRollbackOk(),)

    def channel_flow(self, channel: Channel, method: m.ChannelFlow) -> Reply:
        return (m.ChannelFlowOk(active=method.active),)

    def channel_close(self, channel: Channel, method: m.ChannelClose) -> Reply:
        self.end_channel(channel)
        channel.closing = True
        del channel.connection.channels[channel.number]
        return (m.ChannelCloseOk(),)


def _is_kept(delivery: Delivery) -> bool:
    return delivery.queue.stream is not None and not delivery.queue.deleted


HANDLERS: dict[type, Callable[[Commands, Channel, Any], Reply]] = {
    m.ExchangeDeclare: Commands.exchange_declare,
    m.ExchangeDelete: Commands.exchange_delete,
    m.ExchangeBind: Commands.exchange_bind,
    m.ExchangeUnbind: Commands.exchange_unbind,
    m.QueueDeclare: Commands.queue_declare,
    m.QueueBind: Commands.queue_bind,
    m.QueueUnbind: Commands.queue_unbind,
    m.QueuePurge: Commands.queue_purge,
    m.QueueDelete: Commands.queue_delete,
    m.BasicQos: Commands.basic_qos,
    m.BasicConsume: Commands.basic_consume,
    m.BasicCancel: Commands.basic_cancel,
    m.BasicGet: Commands.basic_get,
    m.BasicAck: Commands.basic_ack,
    m.BasicNack: Commands.basic_nack,
    m.BasicReject: Commands.basic_reject,
    m.BasicRecover: Commands.basic_recover,
    m.BasicRecoverAsync: Commands.basic_recover_async,
    m.ConfirmSelect: Commands.confirm_select,
    m.TxSelect: Commands.tx_select,
    m.TxCommit: Commands.tx_commit,
    m.TxRollback: Commands.tx_rollback,
    m.ChannelFlow: Commands.channel_flow,
    m.ChannelClose: Commands.channel_close,
}
