"""What waits for the log: confirms of publishes and of transactions, turn by turn, released in order.

publish, commit ──seal(ticket)──► waiting ──release(ticket)──► the outbox hears confirmed | refused, committed
"""

from collections import deque

from mansio.core.session import Channel

_Sealed = tuple[Channel, int, list[tuple[int, int]]]


class Confirms:
    """Publishers that are to hear of their messages' fate."""

    def __init__(self) -> None:
        self._publishing: dict[Channel, None] = {}  # channels that published in this turn
        self._committing: list[Channel] = []
        self._waiting: deque[tuple[int, list[_Sealed], list[Channel]]] = deque()

    @property
    def waiting(self) -> bool:
        """Whether something that was sealed is not released yet."""
        return bool(self._waiting)

    def published(self, channel: Channel, count: int) -> None:
        """`count` more messages of a channel in confirm mode."""
        channel.published += count
        self._publishing[channel] = None

    def unrouted(self, channel: Channel, count: int) -> None:
        """The last `count` of the channel's publishes led to no queue: they need not wait for the log."""
        if channel.safe == channel.published - count:
            channel.safe = channel.published

    def committed(self, channel: Channel) -> None:
        """A transaction was applied in this turn."""
        self._committing.append(channel)

    def forget(self, channel: Channel) -> None:
        """The channel is closed: nobody waits any more."""
        self._publishing.pop(channel, None)

    def seal(self, ticket: int) -> None:
        """What happened since the last call waits for the log entry `ticket`."""
        if not self._publishing and not self._committing:
            return
        confirms = [(channel, channel.published, channel.rejected) for channel in self._publishing]
        for channel, upto, _ in confirms:
            channel.sealed = upto
            channel.rejected = []
        self._waiting.append((ticket, confirms, self._committing))
        self._publishing = {}
        self._committing = []

    def release(self, ticket: int, ok: bool) -> None:
        """Tells what waited for entries up to `ticket` that they are durable, or that they never will be."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= ticket:
            _, confirms, commits = waiting.popleft()
            for channel, upto, rejected in confirms:
                if not channel.is_open:
                    continue
                channel.safe = max(channel.safe, upto)
                if ok:
                    channel.session.outbox.confirmed(channel, upto, rejected)
                else:
                    channel.session.outbox.refused(channel, upto)
            for channel in commits:
                if channel.is_open:
                    channel.session.outbox.committed(channel, ok)
