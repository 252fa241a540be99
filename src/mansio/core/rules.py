"""What a queue's arguments ask for beyond keeping messages in order. Times in milliseconds.

They were checked when the queue was declared, see `queue_arguments`.
"""

from typing import Final

from mansio.core.retry import Retry
from mansio.core.routing import Arguments

QUORUM_DELIVERY_LIMIT: Final = 20
"""Of quorum queues that ask for none: RabbitMQ 4's."""


class Rules:
    """The arguments of one queue that are more than a bound, by what they mean."""

    __slots__ = (
        "counts",
        "dead_letter_exchange",
        "dead_letter_key",
        "delivery_limit",
        "expires_ms",
        "letters_refused",
        "levels",
        "quorum",
        "retry",
        "ttl_ms",
    )

    def __init__(self, arguments: Arguments) -> None:
        self.ttl_ms: int | None = arguments.get("x-message-ttl")
        self.expires_ms: int | None = arguments.get("x-expires")
        self.dead_letter_exchange: str | None = arguments.get("x-dead-letter-exchange")
        self.dead_letter_key: str | None = arguments.get("x-dead-letter-routing-key")
        self.letters_refused = arguments.get("x-overflow") == "reject-publish-dlx"
        """Whether messages that a full queue refuses go to the dead-letter exchange, too."""
        self.levels: int = arguments.get("x-max-priority", 0)
        self.quorum = arguments.get("x-queue-type") == "quorum"
        retry: Arguments | None = arguments.get("x-retry")
        self.retry = None if retry is None else Retry(retry)
        usual = QUORUM_DELIVERY_LIMIT if self.quorum and retry is None else -1
        limit = arguments.get("x-delivery-limit", usual)
        self.delivery_limit: int = limit if isinstance(limit, int) else -1
        """How often a message may be given back; below 0: any number of times."""
        self.counts = self.delivery_limit >= 0 or (self.quorum and retry is None)
        """Whether it is counted, and kept over restarts, how often each message was given back, for whatever reason.
        With a rule for retries, what consumers refuse or do not settle in time is counted anyway."""


_ASKING: Final = (
    "x-dead-letter-exchange",
    "x-delivery-limit",
    "x-expires",
    "x-max-priority",
    "x-message-ttl",
    "x-retry",
)

PLAIN: Final = Rules({})
"""Of a queue that asks for nothing."""


def make_rules(arguments: Arguments) -> Rules:
    """What these arguments ask for."""
    if arguments.get("x-queue-type") == "quorum" or any(name in arguments for name in _ASKING):
        return Rules(arguments)
    return PLAIN
