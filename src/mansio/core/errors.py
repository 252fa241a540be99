"""What the Broker refuses, and why. Texts are those of RabbitMQ 3.10.8, since clients' users search for them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mansio.core.queue import Queue


class BrokerError(Exception):
    """A command that was refused. Nothing has changed; `text` says what, where and why."""

    def __init__(self, text: str, passing: bool = False) -> None:
        """`passing`: it may be otherwise in a moment, without anybody's doing anything about it."""
        super().__init__(text)
        self.text = text
        self.passing = passing


class MustWait(Exception):
    """What a command needs is being read from the log, or what it writes waits for room there. Nothing has changed; the
    front that it was for is woken then, and asks again."""


class NotFound(BrokerError):
    """There is no such exchange, queue or virtual host."""


class AccessRefused(BrokerError):
    """The name is reserved, the queue is in exclusive use, or the user may not."""


class ResourceLocked(BrokerError):
    """The queue belongs to another connection."""


class PreconditionFailed(BrokerError):
    """The thing exists but is not as the command says, or is in use."""


class NotAllowed(BrokerError):
    """A command that closes the connection: AMQP 0-9-1 calls its class of error a hard one."""


class InvalidCommand(BrokerError):
    """A value that the command cannot have, such as an unknown exchange type; closes the connection."""


class BadValue(BrokerError):
    """What an operator asks for cannot be; no client's command raises it."""


class Unsupported(BrokerError):
    """What queues of this type cannot do; closes the connection."""


def unsupported(command: str, queue: "Queue") -> Unsupported:
    """The error for a command that a stream does not know."""
    what = f"queue '{queue.name}' in vhost '{queue.vhost}'"
    return Unsupported(f"{command} not supported by stream queues {what}")
