"""SASL mechanisms PLAIN (RFC 4616) and AMQPLAIN (a field table without its length, RabbitMQ)."""

from mansio.codec.amqp_values import CodecError, decode_table
from mansio.protocol.amqp.replies import SYNTAX_ERROR, Refusal
from mansio.protocol.base import Credentials

MECHANISMS = ("PLAIN", "AMQPLAIN")


def read_credentials(mechanism: str, response: bytes) -> Credentials | None:
    """The credentials in a SASL response; None when it is malformed, Refusal for an unknown mechanism."""
    if mechanism == "PLAIN":
        return _plain(response)
    if mechanism == "AMQPLAIN":
        return _amqplain(response)
    raise Refusal(SYNTAX_ERROR, f"unknown authentication mechanism '{mechanism}'")


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
