"""One AMQP channel: its methods, the content that is being put together, confirms and replies.

open ──publish, too long or unusual for the scanner──► header due ──► body due ──► open
  │ error of the channel                                    │
  ▼                                                         ▼
closing (all but close and close-ok ignored) ──close-ok──► gone
"""

from typing import TYPE_CHECKING, Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import ACK_ID, NACK_ID, REJECT_ID
from mansio.core.names import REPLY_TO
from mansio.core.queue import Queue
from mansio.core.session import Channel, Outcome
from mansio.protocol.amqp.content import (
    Assembly,
    not_a_body,
    not_a_header,
)
from mansio.protocol.amqp.definitions import DefinitionMethods
from mansio.protocol.amqp.replies import (
    CHANNEL_ERROR,
    COMMAND_INVALID,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    UNEXPECTED_FRAME,
    Refusal,
)
from mansio.protocol.amqp.states import CHANNEL

if TYPE_CHECKING:
    from mansio.protocol.amqp.connection import AmqpConnection

_DELIVER = m.BasicDeliver.ID.to_bytes(4, "big")
_ACK, _NACK = m.BasicAck.ID.to_bytes(4, "big"), m.BasicNack.ID.to_bytes(4, "big")


class AmqpChannel(DefinitionMethods):
    """The wire's side of a channel; `core` is the Broker's."""

    def __init__(self, connection: "AmqpConnection", core: Channel) -> None:
        super().__init__(connection, core)
        core.wire = self
        self.closing = False
        self.reply_queue: Queue | None = None
        self._assembly: Assembly | None = None
        self._confirmed = 0

    # -- frames

    def on_frame(self, kind: int, payload: bytes) -> None:
        """A frame that the scanner did not take; Refusal, CodecError or BrokerError for what is wrong with it."""
        if self.closing:
            self._on_frame_while_closing(kind, payload)
        elif self._assembly is not None:
            self._on_content(kind, payload, self._assembly)
        elif kind != m.FRAME_METHOD:
            raise Refusal(UNEXPECTED_FRAME, "expected method frame, got non method frame instead")
        else:
            self._on_method(payload)

    def _on_frame_while_closing(self, kind: int, payload: bytes) -> None:
        if kind != m.FRAME_METHOD:
            return
        method = int.from_bytes(payload[:4], "big")
        if method == m.ChannelClose.ID:
            self.connection.send_method(self.number, m.ChannelCloseOk())
        elif method == m.ChannelCloseOk.ID:
            self.connection.drop_channel(self.number)
        elif method == m.ChannelOpen.ID:
            raise Refusal(CHANNEL_ERROR, "second 'channel.open' seen", method)

    def _on_method(self, payload: bytes) -> None:
        method = m.decode_method(payload)
        if isinstance(method, m.BasicPublish):
            frame = m.frame(m.FRAME_METHOD, self.number, payload)
            self._assembly = Assembly(method, frame, self.connection.frame_max)
            self.connection.assembling(True)
        elif isinstance(method, m.BasicAck):
            self.settle(ACK_ID, method.delivery_tag, method.delivery_tag, int(method.multiple))
        elif isinstance(method, m.BasicNack):
            bits = int(method.multiple) | int(method.requeue) << 1
            self.settle(NACK_ID, method.delivery_tag, method.delivery_tag, bits)
        elif isinstance(method, m.BasicReject):
            self.settle(REJECT_ID, method.delivery_tag, method.delivery_tag, int(method.requeue))
        elif handler := CHANNEL.get(method.ID):
            getattr(self, handler)(method)
        elif isinstance(method, m.ChannelOpen):
            raise Refusal(CHANNEL_ERROR, "second 'channel.open' seen", method.ID)
        else:
            raise Refusal(COMMAND_INVALID, "unimplemented method", method.ID)

    def _on_content(self, kind: int, payload: bytes, assembly: Assembly) -> None:
        if assembly.header is None:
            if kind != m.FRAME_HEADER:
                raise not_a_header()
            assembly.add_header(payload, self.broker.limits.message_bytes_max)
        elif kind != m.FRAME_BODY:
            raise not_a_body()
        else:
            assembly.add_body(payload)
        if assembly.complete:
            self._drop_assembly()
            self.connection.take_publish(self, assembly, 0)

    def _drop_assembly(self) -> None:
        if self._assembly is not None:
            self._assembly = None
            self.connection.assembling(False)

    def close(self, code: int, text: str, method: int) -> None:
        """Closes the channel for an error and waits for the client's close-ok.

        Earlier publishes that led to no queue are confirmed first, as by RabbitMQ: clients rely on it. If others
        were among them nothing is said, since grouping may have counted these behind them.
        """
        if self.core.safe == self.core.published:
            self._answer(self.core.safe, True)
        self._end()
        self.closing = True
        self.connection.forget_routes()
        self.connection.send_method(
            self.number, m.ChannelClose(code, text, method >> 16, method & 0xFFFF)
        )

    def _end(self) -> None:
        self._drop_assembly()
        self.broker.close_channel(self.core)

    # -- settling and confirms

    def settle(self, method: int, first: int, last: int, bits: int) -> None:
        """A row of acks, nacks or rejects with tags [first, last] and these bits."""
        if method == ACK_ID:
            self.broker.settle(self.core, first, last, bits & 1 != 0, Outcome.ACCEPT)
        elif method == REJECT_ID:
            outcome = Outcome.REQUEUE if bits & 1 else Outcome.REJECT
            self.broker.settle(self.core, first, last, False, outcome)
        else:
            outcome = Outcome.REQUEUE if bits & 2 else Outcome.REJECT
            self.broker.settle(self.core, first, last, bits & 1 != 0, outcome)

    def confirm(self, upto: int, rejected: list[tuple[int, int]]) -> None:
        """Tells that publishes up to this number are safe, but for those that were rejected."""
        for first, last in sorted(rejected):
            self._answer(first - 1, True)
            self._answer(last, False)
        self._answer(upto, True)

    def refuse(self, upto: int) -> None:
        """Tells that publishes up to this number could not be made safe."""
        self._answer(upto, False)

    def _answer(self, upto: int, ok: bool) -> None:
        count = upto - self._confirmed
        if count <= 0 or self.closing:
            return
        self._confirmed = upto
        multiple = count > 1
        payload = (_ACK if ok else _NACK) + upto.to_bytes(8, "big") + bytes((multiple,))
        self.connection.send_raw(m.frame(m.FRAME_METHOD, self.number, payload))

    def committed(self, ok: bool, partly: bool) -> None:
        """The transaction is durable, or could not be made so, or full queues refused a part of it."""
        if self.closing:
            return
        if ok and partly:
            self.connection.refuse_commit(self.number)
        elif ok:
            self.reply(m.TxCommitOk())
        else:
            self.connection.refuse_storage(self.number)

    # -- channel

    def on_flow(self, method: m.ChannelFlow) -> None:
        if not method.active:
            raise Refusal(NOT_IMPLEMENTED, "active=false", method.ID)
        self.broker.set_active(self.core, method.active)
        self.reply(m.ChannelFlowOk(active=method.active))

    def on_close(self, method: m.ChannelClose) -> None:
        self._end()
        self.reply(m.ChannelCloseOk())
        self.connection.drop_channel(self.number)

    # -- consumers

    def on_qos(self, method: m.BasicQos) -> None:
        if method.prefetch_size:
            raise Refusal(NOT_IMPLEMENTED, f"prefetch_size!=0 ({method.prefetch_size})", method.ID)
        self.broker.set_prefetch(self.core, method.prefetch_count, method.global_)
        self.reply(m.BasicQosOk())

    def on_consume(self, method: m.BasicConsume) -> None:
        tag = method.consumer_tag or f"amq.ctag-{self.connection.token()}"
        if method.queue == REPLY_TO:
            queue = self._declare_reply_queue(method)
        else:
            self.broker.check_tag(self.core, tag)
            queue = self.readable(method.queue, method.ID)
        consumer = self.broker.consume(
            self.core, queue, tag, method.no_ack, method.exclusive, method.arguments
        )
        consumer.wire = deliver_prefix(tag)
        if not method.no_wait:
            self.reply(m.BasicConsumeOk(tag))

    def _declare_reply_queue(self, method: m.BasicConsume) -> Queue:
        if not method.no_ack:
            raise Refusal(PRECONDITION_FAILED, "reply consumer cannot acknowledge", method.ID)
        if self.reply_queue is not None and not self.reply_queue.deleted:
            raise Refusal(PRECONDITION_FAILED, "reply consumer already set", method.ID)
        token = self.connection.token()
        self.reply_queue = self.broker.definitions.declare_reply_queue(self.core.session, token)
        return self.reply_queue

    def on_cancel(self, method: m.BasicCancel) -> None:
        self.broker.cancel(self.core, method.consumer_tag)
        if self.reply_queue is not None and self.reply_queue.deleted:
            self.reply_queue = None
        if not method.no_wait:
            self.reply(m.BasicCancelOk(method.consumer_tag))

    def on_cancel_ok(self, method: m.BasicCancelOk) -> None:
        """The client confirms a cancellation that we told it of."""

    def on_get(self, method: m.BasicGet) -> None:
        queue = self.readable(method.queue, method.ID)
        self.broker.before_get(queue)
        if self.broker.paging.loading.must_wait(queue, self.connection):
            self.connection.waiting = True
            return
        got = self.broker.get(self.core, queue, method.no_ack)
        if got is None:
            self.reply(m.BasicGetEmpty())
            return
        route = got.run.route(got.i)
        reply = m.BasicGetOk(
            got.tag, got.redelivered, route.exchange, route.routing_key, got.remaining
        )
        self.connection.send_content(self.number, reply, got.run, got.i)

    def on_recover(self, method: m.BasicRecover) -> None:
        self._recover(method)
        self.reply(m.BasicRecoverOk())

    def on_recover_async(self, method: m.BasicRecoverAsync) -> None:
        self._recover(method)

    def _recover(self, method: Any) -> None:
        if not method.requeue:
            raise Refusal(NOT_IMPLEMENTED, "requeue=false", method.ID)
        self.broker.recover(self.core)

    # -- confirms and transactions

    def on_confirm_select(self, method: m.ConfirmSelect) -> None:
        if self.core.tx is not None:
            raise Refusal(PRECONDITION_FAILED, "cannot switch from tx to confirm mode", method.ID)
        self.core.confirming = True
        if not method.no_wait:
            self.reply(m.ConfirmSelectOk())

    def on_tx_select(self, method: m.TxSelect) -> None:
        if self.core.confirming:
            raise Refusal(PRECONDITION_FAILED, "cannot switch from confirm to tx mode", method.ID)
        self.broker.select_tx(self.core)
        self.reply(m.TxSelectOk())

    def on_tx_commit(self, method: m.TxCommit) -> None:
        self.broker.commit(self.core)

    def on_tx_rollback(self, method: m.TxRollback) -> None:
        self.broker.rollback(self.core)
        self.reply(m.TxRollbackOk())


def deliver_prefix(consumer_tag: str) -> bytes:
    """What stands in front of the delivery tag in a basic.deliver to this consumer."""
    tag = consumer_tag.encode("utf-8", "surrogateescape")
    return _DELIVER + bytes((len(tag),)) + tag
