"""SASL mechanisms: PLAIN (RFC 4616), AMQPLAIN (a field table without its length, RabbitMQ), EXTERNAL (RFC 4422, A)."""

from mansio.codec.amqp_values import CodecError, decode_table
from mansio.protocol.amqp.replies import SYNTAX_ERROR, Refusal
from mansio.protocol.base import Credentials, Peer

MECHANISMS = ("PLAIN", "AMQPLAIN")
EXTERNAL = "EXTERNAL"
"""By the client's certificate: offered to those who have presented one."""


def read_credentials(mechanism: str, response: bytes, peer: Peer) -> Credentials | str:
    """The credentials in a SASL response; a text for the log that says why there are none, Refusal for an unknown
    mechanism."""
    if mechanism == EXTERNAL:
        return _external(peer)
    if mechanism == "PLAIN":
        return _plain(response) or "malformed PLAIN response"
    if mechanism == "AMQPLAIN":
        return _amqplain(response) or "malformed AMQPLAIN response"
    raise Refusal(SYNTAX_ERROR, f"unknown authentication mechanism '{mechanism}'")


def _external(peer: Peer) -> Credentials | str:
    """Whom the certificate names; what the client says is of no account (RabbitMQ 3.10.8 observed)."""
    if peer.certificate_user is None:
        return "EXTERNAL login refused: the client has presented no certificate"
    if not peer.certificate_user:
        return "EXTERNAL login refused: there is no name in the client's certificate"
    return Credentials(peer.certificate_user, None, EXTERNAL)


def _plain(response: bytes) -> Credentials | None:
    parts = response.split(b"\0")
    if len(parts) != 3:
        return None
    user, password = (part.decode("utf-8", "surrogateescape") for part in parts[1:])
    return Credentials(user, password, "PLAIN")


def _amqplain(response: bytes) -> Credentials | None:
    try:
        table, _ = decode_table(len(response).to_bytes(4, "big") + response, 0, len(response) + 4)
    except CodecError:
        return None
    user, password = table.get("LOGIN"), table.get("PASSWORD")
    if not isinstance(user, str) or not isinstance(password, str):
        return None
    return Credentials(user, password, "AMQPLAIN")
