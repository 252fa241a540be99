"""What single messages ask of the broker beside being delivered: not to be taken twice, and to be told of their end.

A message with marks is a run of its own. They are in its record in the log, so that nobody has to read the message
to know them, neither after a restart nor when it is paged out.
"""

from typing import Any, Final

ACKED: Final = "acked"
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
DEAD_LETTERED: Final = "dead-lettered"
DROPPED: Final = "dropped"
"""By a full queue, or with a queue that was purged or deleted."""
UNROUTED: Final = "unrouted"
DUPLICATE: Final = "duplicate"


class Marks:
    """Of one message. `id`: what it must not share with others, see `deduplication`; `reply_to`: see `receipts`."""

    __slots__ = (
        "correlation",
        "holders",
        "id",
        "owed",
        "quiet",
        "remembered",
        "reply_to",
        "returns",
        "ttl_ms",
    )

    def __init__(
        self,
        id: str | None = None,
        ttl_ms: int | None = None,
        reply_to: str | None = None,
        correlation: str | None = None,
    ) -> None:
        self.id = id
        self.ttl_ms = ttl_ms  # how long the message wants its id to be remembered
        self.reply_to = reply_to
        self.correlation = correlation
        self.quiet = False  # no receipt for what is acknowledged: its publisher hears of that from its consumer
        self.remembered = False  # in a window, for good if it is not refused
        self.owed: set[int] = set()
        """Ids of the queues that have not settled it: each owes a receipt."""
        self.returns: dict[int, int] | None = None
        """How often queues got it back, by their ids."""
        self.holders: dict[int, str] | None = None
        """Tags of the consumers that have rejected it, by ids of queues, while it is read to be moved."""

    def count_return(self, queue_id: int) -> int:
        """A queue got it back; answers how often it did by now."""
        if self.returns is None:
            self.returns = {}
        count = self.returns[queue_id] = self.returns.get(queue_id, 0) + 1
        return count

    def copy(self) -> "Marks":
        """For the same message on another way."""
        copied = Marks(self.id, self.ttl_ms, self.reply_to, self.correlation)
        copied.quiet = self.quiet
        return copied

    def only_id(self) -> "Marks | None":
        """For a copy of the message that asks for no receipt; None without an id."""
        return None if self.id is None else Marks(self.id, self.ttl_ms)

    def pack(self) -> dict[str, Any]:
        """What a record says of them."""
        packed = {"id": self.id, "reply_to": self.reply_to, "correlation": self.correlation}
        return {key: value for key, value in packed.items() if value is not None}


def unpack_marks(packed: Any) -> Marks:
    """The marks that `pack` wrote; ValueError when it was something else."""
    if not isinstance(packed, dict) or not all(isinstance(each, str) for each in packed.values()):
        raise ValueError(f"not marks: {packed!r}")
    return Marks(packed.get("id"), None, packed.get("reply_to"), packed.get("correlation"))
