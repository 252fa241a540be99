"""What goes from streams: in front, by retention and trims, or between what stays; from groups that had it ready, too.

    [0][1]│[2 – 4 5][6 7][8 9 …        cut in front: whole runs, and a part of the next one, below `floor`
           in gaps ^                   taken out: a run goes when nothing is left of it

Each is a settlement in the log, by offset: a restart finds what is left.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING

from mansio.core.equivalence import describe
from mansio.core.gaps import Gaps
from mansio.core.group import PROTECTED, SOURCE, Group
from mansio.core.run import Run, Span
from mansio.core.stream import Stream
from mansio.core.stream_ids import id_at, lower, number

if TYPE_CHECKING:
    from mansio.core.broker import Broker


class Cuts:
    """Of all streams of a broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    def give_up(self, stream: Stream, until: int, first: int = -1, asked: bool = False) -> None:
        """What is below this offset goes, above where the stream begins. `first`: where it began, if something was
        taken out before; `asked`: somebody wants it so, and nobody has to be told."""
        settling = self._broker.settling
        first = stream.first if first < 0 else first
        if stream.gaps is not None:
            until = stream.gaps.skip(until)  # no run may stay of which nothing is left
        for group in stream.groups:
            self._drop(group, until, asked)
        gone = stream.cut(until, first)
        whole = (first, until - first, 1)
        for cut in gone:
            settling.left(cut.run, stream.id, cut.alive, (whole,) if cut is gone[-1] else ())
            if cut.run.live:
                settling.note_gone(cut.run, stream.id, (cut.start, cut.stop - cut.start, 1))

    def take_out(self, stream: Stream, start: int, stop: int) -> None:
        """These entries go, which are all there."""
        settling = self._broker.settling
        for group in stream.groups:
            self._withdraw(group, start, stop)
        if stream.gaps is None:
            stream.gaps = Gaps()
        stream.gaps.add(start, stop)
        at = stream.span_of(start)
        while start < stop:
            span = stream.ready[at]
            end = min(stop, span.base + span.stop)
            stream.ready_count -= end - start
            if stream.alive(span.base, span.base + span.stop):
                at += 1
            else:
                stream.take_out(at)
            gone = (start, end - start, 1)
            settling.left(span.run, stream.id, end - start, (gone,))
            if span.run.live:
                settling.note_gone(span.run, stream.id, gone)
            start = end

    def leave_out(self, stream: Stream, until: int) -> None:
        """The next entry gets this offset, and none is at those between."""
        self._note_gap(stream, stream.next_position, until)
        stream.released += until - stream.next_position

    # -- groups

    def feed(self, group: Group, stream: Stream, run: Run) -> bool:
        """A run of the stream is durable; whether some of it is for the group."""
        base = run.places[0][1]
        if not stream.alive(base, base + run.count) or not group.feed(run, base):
            return False
        if base < stream.floor:
            self._withdraw(group, base, stream.floor)
        for start, stop in stream.gaps or ():
            self._withdraw(group, max(start, base), min(stop, base + run.count))
        return bool(group.ready_count)

    def _drop(self, group: Group, until: int, asked: bool) -> None:
        """Entries below this offset go; a group that has not read them has lost them."""
        lost = 0
        while group.ready and group.ready[0].base + group.ready[0].start < until:
            span = group.ready[0]
            count = min(span.stop, until - span.base) - span.start
            self._broker.settling.drop(group, group.take_head(count))
            lost += count
        if not lost:
            return
        self._broker.dispatcher.touch(group)  # it may have waited for what is gone
        self._broker.counts.lost += lost
        if not asked:
            self._broker.notices.append(
                f"{describe('queue', group.name, group.vhost)}: {lost} messages went with the oldest part of stream "
                f"'{group.arguments[SOURCE]}' before they were read; '{PROTECTED}' would keep them"
            )

    def _withdraw(self, group: Group, start: int, stop: int) -> None:
        """What the group has ready of these entries goes; what somebody works on stays."""
        ready = group.ready
        at = max(bisect_right(ready, start, key=_place) - 1, 0)
        while at < len(ready) and _place(ready[at]) < stop:
            span = ready[at]
            low = max(start - span.base, span.start)
            high = min(stop - span.base, span.stop)
            if low >= high:
                at += 1
                continue
            del ready[at]
            for first, last in ((span.start, low), (high, span.stop)):
                if first < last:
                    left = Span(span.run, first, last, span.base, span.redelivered, span.deliveries)
                    ready.insert(at, left)
                    at += 1
            group.ready_count -= high - low
            self._broker.settling.drop(group, Span(span.run, low, high, span.base))

    # -- restart

    def restored(self, stream: Stream) -> None:
        """Its runs are back; what is between them is gone, and it is known how much of that was meant to go."""
        at = stream.first
        absent = 0
        for span in stream.ready:
            if span.base > at:
                absent += span.base - at
                self._note_gap(stream, at, span.base)
            at = max(at, span.base + span.stop)
            self._number(stream, span.run)
        if stream.next_position > at:
            absent += stream.next_position - at
            self._note_gap(stream, at, stream.next_position)
        for i, span in enumerate(stream.ready):
            last = i + 1 == len(stream.ready)
            self.lower_ids(
                stream, span, stream.last_id if last else id_at(stream.ready[i + 1].run, 0) - 1
            )
        stream.missing = max(absent - stream.released, 0)
        stream.released = absent - stream.missing  # some of it has gone in front since
        for group in stream.groups:
            self._withdraw(group, 0, stream.floor)
            for start, stop in stream.gaps or ():
                self._withdraw(group, start, stop)

    def _note_gap(self, stream: Stream, start: int, stop: int) -> None:
        if stream.gaps is None:
            stream.gaps = Gaps()
        stream.gaps.add(start, stop)

    def _number(self, stream: Stream, run: Run) -> None:
        """An entry that was stored before entries had ids gets one now. Of those that are gone it is not known here
        which ids were taken back; the marks of the stream tell the last one."""
        if run.ids is None:
            number(stream, run)
        base = run.places[0][1]
        stop = _stop(stream, base, base + run.count)
        if stop > base:
            stream.last_id = max(stream.last_id, id_at(run, stop - base - 1))

    def lower_ids(self, stream: Stream, span: Span, most: int) -> None:
        """What is gone behind the last entry of a run has no higher ids than this one, which may be given again."""
        if id_at(span.run, span.stop - 1) > most:
            lower(span.run, _stop(stream, span.base, span.base + span.stop) - span.base, most)


def _stop(stream: Stream, base: int, stop: int) -> int:
    """The offset behind the last of these entries that is there; `base` where none is."""
    return max((end for _, end in stream.pieces(base, stop)), default=base)


def _place(span: Span) -> int:
    return span.base + span.start
