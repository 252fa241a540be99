"""Reply codes and texts (specification 1.2), and which of the Broker's refusals become which."""

from typing import Final

from mansio.core import errors

DUPLICATE: Final = 208
"""Mansio's own: a mandatory message that nobody takes because it has come before is returned with it."""

CONTENT_TOO_LARGE: Final = 311
NO_ROUTE: Final = 312
CONNECTION_FORCED: Final = 320
ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406
FRAME_ERROR: Final = 501
SYNTAX_ERROR: Final = 502
COMMAND_INVALID: Final = 503
CHANNEL_ERROR: Final = 504
UNEXPECTED_FRAME: Final = 505
RESOURCE_ERROR: Final = 506
NOT_ALLOWED: Final = 530
NOT_IMPLEMENTED: Final = 540
INTERNAL_ERROR: Final = 541

NAMES: Final = {
    CONTENT_TOO_LARGE: "CONTENT_TOO_LARGE",
    NO_ROUTE: "NO_ROUTE",
    CONNECTION_FORCED: "CONNECTION_FORCED",
    ACCESS_REFUSED: "ACCESS_REFUSED",
    NOT_FOUND: "NOT_FOUND",
    RESOURCE_LOCKED: "RESOURCE_LOCKED",
    PRECONDITION_FAILED: "PRECONDITION_FAILED",
    FRAME_ERROR: "FRAME_ERROR",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    COMMAND_INVALID: "COMMAND_INVALID",
    CHANNEL_ERROR: "CHANNEL_ERROR",
    UNEXPECTED_FRAME: "UNEXPECTED_FRAME",
    RESOURCE_ERROR: "RESOURCE_ERROR",
    NOT_ALLOWED: "NOT_ALLOWED",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    INTERNAL_ERROR: "INTERNAL_ERROR",
}

BROKER_ERRORS: Final[dict[type[errors.BrokerError], int]] = {
    errors.AccessRefused: ACCESS_REFUSED,
    errors.NotFound: NOT_FOUND,
    errors.ResourceLocked: RESOURCE_LOCKED,
    errors.PreconditionFailed: PRECONDITION_FAILED,
    errors.NotAllowed: NOT_ALLOWED,
    errors.InvalidCommand: COMMAND_INVALID,
    errors.BadValue: PRECONDITION_FAILED,
    errors.Unsupported: NOT_IMPLEMENTED,
}

CHANNEL_LEVEL: Final = frozenset(
    (CONTENT_TOO_LARGE, ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED)
)
"""Codes that close a channel; every other one closes the connection (specification 1.2)."""

_TEXT_BYTES_MAX = 255


class Refusal(Exception):
    """What a peer did is refused with a reply code; caught in this package, never seen outside of it."""

    def __init__(self, code: int, text: str, method: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.method = method


def reply_text(code: int, text: str) -> str:
    """'NAME - text', cut to what a short string holds as RabbitMQ 3.10.8 cuts it."""
    full = f"{NAMES[code]} - {text}"
    raw = full.encode("utf-8", "surrogateescape")
    if len(raw) <= _TEXT_BYTES_MAX:
        return full
    return raw[: _TEXT_BYTES_MAX - 3].decode("utf-8", "ignore") + "..."
