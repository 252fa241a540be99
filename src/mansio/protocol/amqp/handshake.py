"""Start, tune and open: what we propose, and what is agreed upon (specification 1.4.2)."""

from typing import Final

from mansio import __version__
from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import Table
from mansio.core.limits import FRAME_MIN_BYTES, Limits
from mansio.protocol.amqp.replies import NOT_ALLOWED, Refusal
from mansio.protocol.amqp.sasl import EXTERNAL, MECHANISMS
from mansio.protocol.amqp.states import State
from mansio.protocol.base import Peer

PROTOCOL_HEADERS: Final = (b"AMQP\x00\x00\x09\x01", b"AMQP\x01\x01\x00\x09")
"""Of AMQP 0-9-1, and of 0-9: aioamqp sends that one and speaks 0-9-1, and RabbitMQ takes it so, too."""

TLS_HANDSHAKE: Final = b"\x16\x03"
"""How a connection with TLS begins (RFC 8446, 5.1)."""

CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)

STATE_NAMES: Final = {
    State.HEADER: "handshake",
    State.START: "starting",
    State.CHECKING: "starting",
    State.TUNE: "tuning",
    State.OPENING: "opening",
    State.OPEN: "running",
    State.CLOSING: "closing",
    State.CLOSED: "closed",
}


def server_properties(limits: Limits) -> Table:
    """What connection.start tells of us."""
    return {
        "capabilities": dict.fromkeys(CAPABILITIES, True),
        "cluster_name": "mansio",
        "copyright": "Mansio's authors; licensed under Apache-2.0",
        "information": "Mansio speaks AMQP 0-9-1 as RabbitMQ does",
        "platform": f"Mansio {__version__}, Python",
        "product": limits.server_product,
        "version": limits.server_version,
        "mansio_version": __version__,
    }


def not_amqp(data: bytes) -> str:
    """Why a connection that begins like this is closed."""
    if data.startswith(TLS_HANDSHAKE):
        return "it speaks TLS, and this port is one without: connect to the port for TLS, or without it"
    return f"protocol header {data[:8].hex()} is not AMQP 0-9-1"


def start(limits: Limits, peer: Peer) -> m.ConnectionStart:
    """The first method that a client gets."""
    external = () if peer.certificate_user is None else (EXTERNAL,)
    return m.ConnectionStart(
        server_properties=server_properties(limits),
        mechanisms=" ".join((*MECHANISMS, *external)).encode(),
        locales=b"en_US",
    )


def tune(limits: Limits) -> m.ConnectionTune:
    """What we propose."""
    return m.ConnectionTune(limits.channel_max, limits.frame_max, limits.heartbeat_s)


def negotiate(method: m.ConnectionTuneOk, limits: Limits) -> tuple[int, int, int]:
    """(frame-max, channel-max, heartbeat in seconds) as the client wants them; Refusal outside of what we proposed.

    0 is 'no limit' in the specification; the server's own limit then holds.
    """
    frame_max = _agree("frame_max", method.frame_max, limits.frame_max, FRAME_MIN_BYTES)
    channel_max = _agree("channel_max", method.channel_max, limits.channel_max, 1)
    return frame_max, channel_max, method.heartbeat


def _agree(name: str, wanted: int, offered: int, least: int) -> int:
    if wanted == 0:
        return offered
    if wanted < least:
        raise Refusal(
            NOT_ALLOWED,
            f"negotiated {name} = {wanted} is lower than the minimum allowed value ({least})",
        )
    if offered and wanted > offered:
        text = f"negotiated {name} = {wanted} is higher than the maximum allowed value ({offered})"
        raise Refusal(NOT_ALLOWED, text)
    return wanted
