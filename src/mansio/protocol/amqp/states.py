"""The states of a connection, in one table.

    HEADER ──AMQP 0-9-1──► START ──start-ok──► CHECKING ──► TUNE ──tune-ok──► OPENING ──open──► OPEN ──close──► CLOSED
       │ other bytes                                                                             │
       ▼                                                                                         │ our close
    CLOSED ◄──────────────────close-ok───────────────────── CLOSING ◄────────────────────────────┘

START, CHECKING (of the password), TUNE, OPENING and OPEN go to CLOSING when we close with a reply code, and to CLOSED
when the peer is gone or the handshake takes too long. In CLOSING everything but close and close-ok is ignored
(specification 1.4.2, 2.2.4). A (state, method) pair that is not in the table is an error: `COMMAND_INVALID`.
"""

from enum import Enum, auto

from mansio.codec import amqp_methods as m


class State(Enum):
    """Where a connection stands."""

    HEADER = auto()
    START = auto()
    CHECKING = auto()
    TUNE = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


CONNECTION: dict[tuple[State, int], str] = {
    (State.START, m.ConnectionStartOk.ID): "_on_start_ok",
    (State.TUNE, m.ConnectionTuneOk.ID): "_on_tune_ok",
    (State.OPENING, m.ConnectionOpen.ID): "_on_open",
    (State.OPEN, m.ConnectionUpdateSecret.ID): "_on_update_secret",
    (State.OPEN, m.ConnectionClose.ID): "_on_close",
    (State.OPENING, m.ConnectionClose.ID): "_on_close",
    (State.TUNE, m.ConnectionClose.ID): "_on_close",
    (State.START, m.ConnectionClose.ID): "_on_close",
    (State.CLOSING, m.ConnectionClose.ID): "_on_close",
    (State.CLOSING, m.ConnectionCloseOk.ID): "_on_close_ok",
}
"""Methods on channel 0: (state, method id) -> the connection's handler, which also says the next state."""

CHANNEL: dict[int, str] = {
    m.ChannelFlow.ID: "on_flow",
    m.ChannelClose.ID: "on_close",
    m.ExchangeDeclare.ID: "on_exchange_declare",
    m.ExchangeDelete.ID: "on_exchange_delete",
    m.ExchangeBind.ID: "on_exchange_bind",
    m.ExchangeUnbind.ID: "on_exchange_unbind",
    m.QueueDeclare.ID: "on_queue_declare",
    m.QueueBind.ID: "on_queue_bind",
    m.QueueUnbind.ID: "on_queue_unbind",
    m.QueuePurge.ID: "on_queue_purge",
    m.QueueDelete.ID: "on_queue_delete",
    m.BasicQos.ID: "on_qos",
    m.BasicConsume.ID: "on_consume",
    m.BasicCancel.ID: "on_cancel",
    m.BasicCancelOk.ID: "on_cancel_ok",
    m.BasicGet.ID: "on_get",
    m.BasicRecover.ID: "on_recover",
    m.BasicRecoverAsync.ID: "on_recover_async",
    m.ConfirmSelect.ID: "on_confirm_select",
    m.TxSelect.ID: "on_tx_select",
    m.TxCommit.ID: "on_tx_commit",
    m.TxRollback.ID: "on_tx_rollback",
}
"""Methods on an open channel -> the channel's handler. Publishes and settlements come from the scanner instead."""
