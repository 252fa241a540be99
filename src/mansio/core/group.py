"""A consumer group: a queue that a stream feeds. Its members share the entries, and settle them for the whole group.

    stream   [0 … 41][42 … 97][98 … 120]          what is durable goes to every group, without a copy
    group            ready, in flight, settled     positions are offsets; what is ready is the group's lag

It is declared as a queue with the argument `x-stream`, the name of the stream, and begins where `x-stream-offset` says,
as a reader does. From there on it is a queue as any other: members compete, or one is active at a time
(`x-single-active-consumer`); what they do not acknowledge in time goes to others (`x-consumer-timeout`); returns are
counted and limited (`x-delivery-limit`), letters go to a dead-letter exchange. What is settled is in the log.

The stream's retention takes what no member has read as well, unless the group is *protected* (`x-stream-protected`).
"""

from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Final

from mansio.core.paging import Pages
from mansio.core.queue import Queue
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.rota import Rota
    from mansio.core.stream import Stream

SOURCE: Final = "x-stream"
PROTECTED: Final = "x-stream-protected"


class Group(Queue):
    """`begin`: the offset of its first entry. `left`: messages of each run that are not settled, oldest run first."""

    fed: ClassVar[bool] = True

    __slots__ = ("begin", "left", "protected", "rota", "source")

    def _prepare(self) -> None:
        """See `Queue`."""
        self.pages = Pages(oldest_first=True)
        self.protected: bool = self.arguments.get(PROTECTED) is True
        self.begin = 0
        self.left: dict[Run, int] = {}
        self.source: Stream | None = None  # until it is joined to one
        self.rota: Rota | None = None  # of the group that this is a partition of

    def join(self, stream: "Stream", begin: int) -> None:
        """From now on this stream feeds it, from this offset on."""
        self.source = stream
        self.begin = self.next_position = begin
        stream.groups.append(self)

    def feed(self, run: Run, base: int) -> bool:
        """A run of the stream is durable, whose first message has this offset; whether some of it is for the group."""
        stop = base + run.count
        start = max(self.next_position - base, 0)
        if start >= run.count:
            return False
        self.put(Span(run, start, run.count, base))
        count = run.count - start
        self.ready_count += count
        self.next_position = stop
        run.live += count
        self.left[run] = count
        return True

    def restored(self) -> None:
        """What is ready is back, and nothing else."""
        spans = [*self.spans(), *(self.deferred or ())]
        for span in sorted(spans, key=attrgetter("base")):
            self.left[span.run] = self.left.get(span.run, 0) + span.stop - span.start

    def settled(self, run: Run, count: int) -> bool:
        """Messages of a run are settled; whether the stream has waited for that."""
        left = self.left[run] - count
        if left:
            self.left[run] = left
            return False
        del self.left[run]
        return self.protected and self.source is not None and self.source.held

    @property
    def floor(self) -> int:
        """No entry below this offset is needed by the group."""
        return next(iter(self.left)).places[0][1] if self.left else self.next_position
