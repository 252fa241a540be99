"""A run: consecutive messages that arrived in one turn and go to the same queues, as the publisher's own bytes.

    data  | publish method frame, header frame, body frames | publish method frame, header frame, … |
            message 0: [0, stride) or [0, ends[0])            message 1                               count messages

A run is shared by all queues that it was routed to and never changes; what is left of it in one queue is a `Span`.
`live` counts (queue, message) pairs that are not settled: at 0 its memory is given back.

A persistent run that went to a durable queue has a record in the log. `places` and `gone` are what that record, and
those of settlements, say of it: where it went and what is settled since. Once the record is durable, `bucket`, `seq`,
`offset` and `size` tell where it lies. The same holds for a run that went to the spool, see `Paging`: from then on its
bytes may be *paged out*. What is left of it in memory then is what this class holds, less `data`, `ends` and `which`.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from mansio.core.held import Held
    from mansio.core.marks import Marks
    from mansio.core.paging import Pages
    from mansio.core.retention import Bucket
    from mansio.core.routing import Route

Place = tuple[int, int]
"""(queue id, position of the run's first message in that queue)."""
Range = tuple[int, int, int]
"""Messages of a queue by position: (first, count, step)."""


Return = tuple[int, int, int, Range]
"""(queue id, how often they were given back, when they are ready again or 0, messages)."""


class Run:
    """`count` messages in `data`: each `stride` bytes long, or, if `stride` is 0, delimited by `ends` (native u32).

    `which[i]` is the number of message i's route in `routes`; None when there is only one. `data` is empty while the
    run is paged out, and only then; `data_bytes` is what it has or had.
    """

    __slots__ = (
        "arrived_ms",
        "bodies",
        "bucket",
        "check",
        "count",
        "data",
        "data_bytes",
        "ends",
        "expiration_ms",
        "gone",
        "held",
        "home",
        "ids",
        "live",
        "marks",
        "offset",
        "persistent",
        "places",
        "priority",
        "returns",
        "routes",
        "seq",
        "size",
        "stride",
        "which",
    )

    def __init__(
        self,
        data: bytes,
        count: int,
        stride: int,
        ends: bytes | None,
        routes: "tuple[Route, ...]",
        which: bytes | None = None,
        persistent: bool = False,
    ) -> None:
        self.data = data
        self.data_bytes = len(data)
        self.count = count
        self.stride = stride
        self.ends = ends
        self.routes = routes
        self.which = which
        self.persistent = persistent
        self.arrived_ms = 0  # Unix time at which it came into its queues
        self.expiration_ms: int | None = None  # how long its messages may live, if they say so
        self.marks: Marks | None = None  # what its only message asks for beside being delivered
        self.priority = 0  # of all its messages, where a queue cares
        self.live = 0
        self.places: tuple[Place, ...] = ()
        self.gone: list[tuple[int, Range]] | None = None  # (queue id, range)
        self.returns: list[Return] | None = None  # the later ones count
        self.held: Held | None = None  # when its messages are due, while they are delayed
        self.ids: int | array[int] | None = None  # of a stream's entries; see stream_ids.py
        self.bucket: Bucket | None = None
        self.seq = 0
        self.offset = 0
        self.size = 0
        self.home: Pages | None = None  # where it is counted when it may be paged out
        self.check = 0  # sum over its bytes, once it has been paged out
        self.bodies: int | array[int] | None = (
            None  # their sizes, one for all or one for each; see `measure`
        )

    def page_out(self) -> None:
        """Gives the bytes up; its record is kept somewhere."""
        self.check = self.check or _sum(self.data, self.ends, self.which)
        self.data = b""
        self.ends = self.which = None

    def page_in(self, count: int, data: bytes, ends: bytes | None, which: bytes | None) -> bool:
        """Takes the bytes back; False, and nothing is taken, when they are others than were given up."""
        if count != self.count or _sum(data, ends, which) != self.check or not data:
            return False
        self.data, self.ends, self.which = data, ends, which
        return True

    def measure(self) -> "int | array[int]":
        """Makes the sizes of bodies known, also when the run is paged out later; see `bodies`."""
        if self.bodies is None:
            sizes = array("I", [self._body(i) for i in range(self.count)])
            self.bodies = sizes[0] if sizes.count(sizes[0]) == self.count else sizes
        return self.bodies

    def _body(self, i: int) -> int:
        """The size that the header frame says: a u64 at its byte 11."""
        at = self.bounds(i)[0] + self.route(i).skip + 11
        return int.from_bytes(self.data[at : at + 8], "big")

    def bounds(self, i: int) -> tuple[int, int]:
        """Where message `i` lies in `data`: [start, stop), its publish method frame included."""
        if self.ends is None:
            return i * self.stride, (i + 1) * self.stride
        with memoryview(self.ends).cast("I") as table:
            return (table[i - 1] if i else 0), table[i]

    def route(self, i: int) -> "Route":
        """The route that message `i` was published with."""
        return self.routes[self.which[i] if self.which is not None else 0]

    def message(self, i: int) -> bytes:
        """The frames of message `i`, its publish method frame included."""
        start, stop = self.bounds(i)
        return self.data[start:stop]

    def messages(self) -> Iterator[bytes]:
        """All of them, as `message` gives each."""
        data = self.data
        if self.ends is None:
            for start in range(0, len(data), self.stride):
                yield data[start : start + self.stride]
            return
        start = 0
        for stop in array("I", self.ends):
            yield data[start:stop]
            start = stop

    def content(self, i: int) -> bytes:
        """The header and body frames of message `i`."""
        start, stop = self.bounds(i)
        return self.data[start + self.route(i).skip : stop]

    def part(self, start: int, stop: int) -> "Run":
        """A run of messages [start, stop), with traits of the whole; nobody has it yet."""
        ends = which = None
        low, high = 0, len(self.data)
        if stop - start < self.count:
            low, high = self.bounds(start)[0], self.bounds(stop - 1)[1]
        if self.ends is not None:
            table = array("I", self.ends)[start:stop]
            ends = array("I", [end - low for end in table]).tobytes() if low else table.tobytes()
        if self.which is not None:
            which = self.which[start:stop]
        part = Run(
            self.data[low:high],
            stop - start,
            self.stride,
            ends,
            self.routes,
            which,
            self.persistent,
        )
        part.arrived_ms, part.expiration_ms = self.arrived_ms, self.expiration_ms
        part.priority = self.priority
        return part

    def bytes_each(self) -> int:
        """Mean size of a message, at least 1."""
        return self.data_bytes // self.count or 1


def _sum(data: bytes, ends: bytes | None, which: bytes | None) -> int:
    check = crc32(data)
    if ends is not None:
        check = crc32(ends, check)
    if which is not None:
        check = crc32(which, check)
    return check


def make_run(frames: Sequence[bytes], route: "Route", persistent: bool) -> Run:
    """Messages with one route, as a run."""
    return Run(*lay_out(frames), (route,), None, persistent)


def lay_out(frames: Sequence[bytes]) -> tuple[bytes, int, int, bytes | None]:
    """The data, count, stride and ends of a run of these messages."""
    data = b"".join(frames)
    size = len(frames[0])
    sizes = list(map(len, frames))
    if sizes.count(size) == len(sizes):
        return data, len(sizes), size, None
    return data, len(sizes), 0, array("I", accumulate(sizes)).tobytes()


class Span:
    """Messages [start, stop) of a run that are ready in one queue; message i has the queue position `base + i`."""

    __slots__ = ("base", "deliveries", "redelivered", "run", "start", "stop")

    def __init__(
        self,
        run: Run,
        start: int,
        stop: int,
        base: int,
        redelivered: bool = False,
        deliveries: int = 0,
    ) -> None:
        self.run = run
        self.start = start
        self.stop = stop
        self.base = base
        self.redelivered = redelivered
        self.deliveries = deliveries  # how often they were given back, in a queue that counts that
