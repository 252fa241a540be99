"""Names that clients may use, and those that are the broker's own."""

from mansio.core.errors import AccessRefused, PreconditionFailed

RESERVED_PREFIX = "amq."
DEFAULT_EXCHANGE = ""
REPLY_TO = "amq.rabbitmq.reply-to"
"""Pseudo-queue of direct reply-to; each consumer of it gets a queue of this name, a dot and a token."""

QUARANTINE = "mansio.quarantine"
"""Queue of each virtual host for messages given back too often, if their queue has no dead-letter exchange."""

PREDECLARED_EXCHANGES = (
    ("", "direct"),
    ("amq.direct", "direct"),
    ("amq.fanout", "fanout"),
    ("amq.headers", "headers"),
    ("amq.match", "headers"),
    ("amq.rabbitmq.trace", "topic"),
    ("amq.topic", "topic"),
)


def check_not_reserved(kind: str, name: str, vhost: str) -> None:
    """Refuses to declare `amq.…` (specification 1.6.2.1: reserved for predeclared and server-named ones)."""
    if name.startswith(RESERVED_PREFIX):
        raise AccessRefused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def check_queue_name(name: str) -> None:
    """Refuses what is too long for the name of a queue: AMQP's short strings end at 255 bytes."""
    if _is_too_long(name):
        raise PreconditionFailed("the name of a queue has at most 255 bytes")


def check_key_name(kind: str, name: str, vhost: str) -> None:
    """Refuses a key of a `list` or `stream` that cannot be the name of a queue: AMQP's short strings end at 255
    bytes."""
    if _is_too_long(name):
        raise PreconditionFailed(f"a {kind} is a queue, whose name has at most 255 bytes")
    check_not_reserved("queue", name, vhost)


def _is_too_long(name: str) -> bool:
    return len(name) > 255 or len(name.encode("utf-8", "surrogateescape")) > 255


def check_not_system(exchange: str, vhost: str) -> None:
    """Refuses to delete what is in every virtual host, and whatever else has such a name."""
    if exchange.startswith(RESERVED_PREFIX):
        raise AccessRefused(
            f"deletion of system exchange '{exchange}' in vhost '{vhost}' not allowed"
        )


def clean(name: str) -> str:
    """A declared name without line ends, which RabbitMQ 3.10.8 takes out."""
    return name.replace("\r", "").replace("\n", "")


def check_not_default(exchange: str) -> None:
    """Refuses what is not permitted on the default exchange."""
    if exchange == DEFAULT_EXCHANGE:
        raise AccessRefused("operation not permitted on the default exchange")
