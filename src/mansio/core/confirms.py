"""What waits for the log: confirms of publishes and of transactions, and replies, turn by turn, released in order.

publish, commit ──seal(ticket)──► waiting ──release(ticket)──► the outbox hears confirmed | refused, committed
declare, bind …                                                what it holds back may leave
"""

from collections import deque

from mansio.core.counts import Counts
from mansio.core.session import Channel, Session

_Sealed = tuple[Channel, int, int, list[tuple[int, int]]]
"""(channel, what it had published before, what by then, ranges of these that full queues rejected)."""

_Commit = tuple[Channel, bool]
"""(channel, whether full queues refused some of its messages)."""


class Confirms:
    """Publishers that are to hear of their messages' fate."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self.busy = False  # somebody waits, sealed or not: the server looks here first
        self._publishing: dict[Channel, None] = {}  # channels that published in this turn
        self._committing: list[Channel] = []
        self._changing: dict[Session, None] = {}  # changed durable definitions in this turn
        self._changes_waiting = 0  # turns that did
        self._waiting: deque[tuple[int, list[_Sealed], list[_Commit], list[Session]]] = deque()

    @property
    def waiting(self) -> bool:
        """Whether something that was sealed is not released yet."""
        return bool(self._waiting)

    @property
    def changing(self) -> int:
        """Sessions that hear nothing until what they did in this turn is durable."""
        return len(self._changing)

    @property
    def urgent(self) -> bool:
        """Whether others wait for the end of the turn: those who have published or committed."""
        return bool(self._publishing or self._committing)

    def published(self, channel: Channel, count: int) -> None:
        """`count` more messages of a channel in confirm mode."""
        channel.published += count
        self._publishing[channel] = None
        self.busy = True

    def unrouted(self, channel: Channel, count: int) -> None:
        """The last `count` of the channel's publishes led to no queue: they need not wait for the log."""
        if channel.safe == channel.published - count:
            channel.safe = channel.published

    def committed(self, channel: Channel) -> None:
        """A transaction was applied in this turn."""
        self._committing.append(channel)
        self.busy = True

    def changed(self, session: Session) -> None:
        """The session changed durable exchanges, queues or bindings: the reply waits, and all that follows it."""
        if session not in self._changing:
            self._changing[session] = None
            self.busy = True
            session.outbox.hold()

    def observed(self, session: Session) -> None:
        """The session is told what is there: if that may have changed and is not durable yet, it waits as well."""
        if self._changing or self._changes_waiting:
            self.changed(session)

    def forget(self, channel: Channel) -> None:
        """The channel is closed: nobody waits any more."""
        self._publishing.pop(channel, None)

    def seal(self, ticket: int) -> None:
        """What happened since the last call waits for the log entry `ticket`."""
        if not self._publishing and not self._committing and not self._changing:
            return
        confirms = [
            (channel, channel.sealed, channel.published, channel.rejected)
            for channel in self._publishing
        ]
        for channel, _, upto, _ in confirms:
            channel.sealed = upto
            channel.rejected = []
        commits = [(channel, channel.tx_refused) for channel in self._committing]
        for channel in self._committing:
            channel.tx_refused = False
        self._waiting.append((ticket, confirms, commits, list(self._changing)))
        self._changes_waiting += bool(self._changing)
        self._publishing = {}
        self._committing = []
        self._changing = {}

    def release(self, ticket: int, ok: bool) -> None:
        """Tells what waited for entries up to `ticket` that they are durable, or that they never will be."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= ticket:
            _, confirms, commits, changes = waiting.popleft()
            self._changes_waiting -= bool(changes)
            for session in changes:
                if not session.closed:
                    session.outbox.release(ok)
            for channel, before, upto, rejected in confirms:
                if not channel.is_open:
                    continue
                channel.safe = max(channel.safe, upto)
                if ok:
                    self._counts.confirmed += upto - before - _covered(rejected)
                    channel.session.outbox.confirmed(channel, upto, rejected)
                else:
                    channel.session.outbox.refused(channel, upto)
            for channel, partly in commits:
                if channel.is_open:
                    channel.session.outbox.committed(channel, ok, partly)
        self.busy = bool(waiting or self._publishing or self._committing or self._changing)


def _covered(ranges: list[tuple[int, int]]) -> int:
    """How many numbers lie in ranges [first, last], which overlap when several queues rejected a message."""
    count = end = 0
    for first, last in sorted(ranges):
        count += max(last - max(first - 1, end), 0)
        end = max(end, last)
    return count
