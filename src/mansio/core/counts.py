"""What has happened since the broker started, for its metrics. Counted per run or slice, never per message."""


class Counts:
    """Numbers that only rise. Messages unless the comment says otherwise."""

    __slots__ = (
        "acknowledged",
        "cancelled",
        "channels_closed",
        "channels_opened",
        "confirmed",
        "dead_lettered",
        "deduplicated",
        "delayed",
        "delivered",
        "dropped",
        "duplicates",
        "expired",
        "fired",
        "logins",
        "logins_refused",
        "lost",
        "receipts",
        "redelivered",
        "removed",
        "removed_bytes",
        "returned",
        "routed",
        "sessions_opened",
        "timed_out",
    )

    def __init__(self) -> None:
        self.routed = 0  # published and put into a queue at least
        self.returned = 0  # published to no queue, mandatory
        self.dropped = 0  # published to no queue, not mandatory
        self.duplicates = 0  # published and taken by no queue, since they had come before
        self.deduplicated = 0  # times that an exchange or a queue did not take a message for that
        self.confirmed = 0
        self.delayed = 0  # published and held back
        self.fired = 0  # of these, due by now: routed to queues, or dropped
        self.cancelled = 0  # of these, taken back before they were due
        self.dead_lettered = 0  # published again to a dead-letter exchange, or quarantined
        self.expired = 0
        self.receipts = 0  # sent to queues that are there
        self.delivered = 0  # to consumers and by basic.get
        self.redelivered = 0  # of these, marked as redelivered
        self.acknowledged = 0  # or rejected for good, by clients
        self.timed_out = 0  # requeued, as they were not acknowledged in time
        self.removed = 0  # from streams, by their retention
        self.removed_bytes = 0  # bytes of these
        self.lost = 0  # of these, for each group that had them ready still
        self.logins = 0  # by passwords and certificates that were right
        self.logins_refused = 0  # passwords that were wrong, or not looked at
        self.sessions_opened = 0  # connections
        self.channels_opened = 0  # channels
        self.channels_closed = 0  # channels

    @property
    def published(self) -> int:
        """Messages that came from clients; those of a transaction count when it is committed."""
        told = self.routed + self.returned + self.dropped + self.duplicates
        return told + self.delayed - self.fired
