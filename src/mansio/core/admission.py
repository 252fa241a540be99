"""Which permissions commands on the topology need, in the order in which RabbitMQ 3.10.8 asks; AccessRefused."""

from typing import TYPE_CHECKING, Final

from mansio.core.errors import PreconditionFailed
from mansio.core.field_values import Arguments
from mansio.core.names import check_not_default, check_not_reserved
from mansio.core.users import MAX_QUEUES

if TYPE_CHECKING:
    from mansio.core.session import Session
    from mansio.core.topology import VHost

ALTERNATE_EXCHANGE: Final = "alternate-exchange"
DEAD_LETTER_EXCHANGE: Final = "x-dead-letter-exchange"
SOURCE: Final = "x-stream"
"""Arguments by which messages go on to elsewhere, or come from there."""


def check_exchange(host: "VHost", session: "Session", name: str, arguments: Arguments) -> None:
    """exchange.declare: what a new one hands on to its alternate exchange is read here and written there."""
    check_not_default(name)
    rights = session.rights
    rights.check_configure("exchange", name)
    if name in host.exchanges:
        return
    check_not_reserved("exchange", name, host.name)
    alternate = arguments.get(ALTERNATE_EXCHANGE)
    if isinstance(alternate, str):
        rights.check_read("exchange", name)
        rights.check_write("exchange", alternate)


def check_new_queue(host: "VHost", session: "Session", name: str, arguments: Arguments) -> None:
    """queue.declare of a new one, before its other arguments are looked at: dead letters are read here and written
    there. PreconditionFailed above the limit."""
    check_queue_limit(host, name)
    exchange = arguments.get(DEAD_LETTER_EXCHANGE)
    if isinstance(exchange, str):
        session.rights.check_read("queue", name)
        session.rights.check_write("exchange", exchange)


def check_queue_limit(host: "VHost", name: str) -> None:
    """PreconditionFailed where there may not be one more queue."""
    limit = host.limits.get(MAX_QUEUES, -1)
    if 0 <= limit <= len(host.queues):
        raise PreconditionFailed(
            f"cannot declare queue '{name}': queue limit in vhost '{host.name}' ({limit}) is reached"
        )


def check_source(session: "Session", arguments: Arguments) -> None:
    """queue.declare of a new group: it reads from its stream."""
    if SOURCE in arguments:
        session.rights.check_read("queue", arguments[SOURCE])


def check_binding(
    host: "VHost", session: "Session", kind: str, destination: str, source: str, key: str
) -> None:
    """Who binds or unbinds lets messages out of the source, and into the destination, a queue or exchange (`kind`)."""
    rights = session.rights
    rights.check_write(kind, destination)
    if kind == "exchange":
        check_not_default(destination)
    check_not_default(source)
    rights.check_read("exchange", source)
    exchange = host.exchanges.get(source)
    if rights.topics and exchange is not None and exchange.type == "topic":
        rights.check_read_topic(source, key)
