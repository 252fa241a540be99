"""The judge of streams and consumer groups, beside that of queues (oracle.py). What is demanded:

LOST       an entry that was confirmed is in the stream for ever, but for what retention may have taken, and each group
           that begins before it gets it.
GONE       so is an entry that anybody has seen, though it was not confirmed: nothing is seen before it is durable.
MOVED      an entry has the same offset for ever, and an offset the same entry.
TWICE      an entry is in the stream once: also one of a numbered producer that was sent again, before or after a crash.
           A reader gets no entry again.
GAP        a reader gets all entries from its offset on, without a gap, but for what retention may have taken.
ORDER      entries of one publisher have offsets in the order of publishing. First deliveries to one member of a group
           come in the order of offsets; those of a partition that belongs to a divided group do so whoever gets them.
ACTIVE     nobody gets of a partition while another member holds some of it.
FLAG       nothing that is read from a stream is marked as redelivered; what a group had delivered before is.
BACK       what was settled in a group does not come back, as in a queue; nor does what lies before its beginning, or
           what retention had taken when a reader began.
EXCESS     a stream with a limit is not longer than that and one segment.
PIECE      retention takes whole segments.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.torture.ledger import Copy, Reader
from tests.torture.oracle import Oracle
from tests.torture.stream_ledger import RUN_BYTES_MAX, GroupLedger, StreamLedger
from tests.torture.topology import INDEX

Entry = tuple[int, int, int, bool, int, int]
"""(offset, publisher, number, redelivered, size, check sum)"""
Numbered = tuple[int, int, int, int, int]
"""(delivery tag, producer, number, size, check sum)"""


class Following(Reader):
    """A reader of a stream. `due`: the offset of the entry that comes next, None where nobody can know.

    `first`: where it began; `least`: nothing below this offset comes.
    """

    __slots__ = ("due", "first", "least")

    def __init__(self, connection: int, queue: int, due: int | None, least: int) -> None:
        super().__init__(connection, queue, True, {})
        self.due = due
        self.first: int | None = None
        self.least = least


class StreamOracle(Oracle):
    """The oracle of all that the torture does."""

    def started(self, incarnation: int, crashed: bool) -> None:
        super().started(incarnation, crashed)
        for ledger in self._queues:
            if crashed and isinstance(ledger, StreamLedger):
                ledger.crashed()

    # -- streams and groups come

    def fresh(self, stream: str) -> None:
        """A stream is about to be declared where there is none."""
        self._stream(stream).begin()

    def forming(self, group: str, begin: int | str) -> None:
        """A group is about to be declared where there is none, to begin at an offset, `first` or `next`."""
        self.counts["groups declared"] += 1
        self._group(group).begin(begin)

    def formed(self, group: str) -> None:
        """It is declared."""
        self._group(group).formed()

    def _stream(self, name: str) -> StreamLedger:
        ledger = self._queues[INDEX[name]]
        assert isinstance(ledger, StreamLedger)
        return ledger

    def _group(self, name: str) -> GroupLedger:
        ledger = self._queues[INDEX[name]]
        assert isinstance(ledger, GroupLedger)
        return ledger

    # -- numbered producers

    def numbered(self, publisher: int, stream: str, messages: Sequence[Numbered]) -> None:
        """A channel has sent messages of numbered producers to a stream, some of them not for the first time."""
        owner, ledger = self._publishers[publisher], self._stream(stream)
        self.counts["sent"] += len(messages)
        for tag, producer, number, size, crc in messages:
            key = (producer, number)
            copy = ledger.copies.get(key)
            if copy is not None or ledger.is_gone(producer, number):
                self.counts["sent again"] += 1
            else:
                index = INDEX[stream]
                copy = Copy(producer, number, index, size, crc, True, self.incarnation)
                ledger.copies[key] = copy
            owner.pending[tag] = (self._syncing.clock, [] if copy is None else [copy], False)

    # -- reading

    def reading(self, connection: int, reader: int, stream: str, begin: int | str) -> None:
        """A reader is about to begin: at an offset, at the `first` entry, the `last` ones, or what comes `next`."""
        ledger = self._stream(stream)
        due: int | None = None
        least = ledger.first
        if begin == "first":
            due = ledger.first
        elif begin == "next":
            least = ledger.high
        elif isinstance(begin, int):
            due = begin
        self._readers[reader] = Following(connection, INDEX[stream], due, least)

    def read(self, reader: int, entries: Sequence[Entry]) -> None:
        """Entries came to a reader of a stream, or to a member of a group."""
        source = self._readers[reader]
        ledger = self._queues[source.queue]
        for entry in entries:
            if isinstance(ledger, GroupLedger):
                self.counts["group entries received"] += 1
                self._take(source, ledger, entry)
            else:
                assert isinstance(ledger, StreamLedger) and isinstance(source, Following)
                self.counts["entries read"] += 1
                self._follow(source, ledger, entry)

    def _follow(self, source: Following, ledger: StreamLedger, entry: Entry) -> None:
        offset, publisher, number, redelivered, _, _ = entry
        copy = self._meet(ledger, entry, ledger.name)
        where = f"{ledger.name}, broker {self.incarnation}: offset {offset}"
        if redelivered:
            self._fail("FLAG", f"{where} is marked as redelivered")
        if offset < source.least and not ledger.loose:
            self._fail("BACK", f"{where} is there, before {source.least} nothing was")
        self._continue(source, ledger, offset)
        if copy is not None and not source.in_order(publisher, number, redelivered):
            self._fail("ORDER", f"{where} is {copy}, behind a later one")

    def _continue(self, source: Following, ledger: StreamLedger, offset: int) -> None:
        """Is this offset the one that is due?"""
        where = f"{ledger.name}, broker {self.incarnation}: a reader got offset {offset}"
        due = source.due
        if due is not None and offset < due:
            self._fail("TWICE", f"{where}, {due} was due")
        elif due is not None and offset > due and not ledger.loose:
            first = max(due, ledger.first)
            if offset > first and not ledger.may_skip(first, offset, self.incarnation):
                self._fail("GAP", f"{where}, {due} was due")
            elif offset > ledger.first:
                self.counts["gaps by retention"] += 1
                if not ledger.segment_went(offset):
                    self._fail("PIECE", f"{where}, the first one; it was {ledger.first}")
                ledger.first = offset
        if source.first is None:
            source.first = offset
        source.due = offset + 1

    def _meet(self, ledger: StreamLedger, entry: Entry, whose: str) -> Copy | None:
        """An entry of a stream was seen, by a reader or through a group: what it is."""
        offset, publisher, number, _, size, crc = entry
        copy = ledger.copies.get((publisher, number))
        if copy is None:
            if not ledger.loose:
                kind = "BACK" if 0 < publisher < self._horizon else "NOWHERE"
                text = f"{whose} gave {publisher}/{number} of {size} bytes at offset {offset}"
                self._fail(kind, f"broker {self.incarnation}: {text}")
            return None
        where = f"{whose}, broker {self.incarnation}: {copy}"
        if (size, crc) != (copy.size, copy.crc):
            self._fail("DAMAGED", f"{where} came with {size} bytes, crc {crc}")
        if copy.tx is not None and copy.tx.state in ("staged", "discarded"):
            self._fail("NOWHERE", f"{where} is of transaction {copy.tx.number}, {copy.tx.state}")
        if copy.settled is not None:
            self._unsettle(where, copy, copy.settled)
        self._place(ledger, copy, offset, where)
        if not copy.confirmed:
            self.counts["entries seen before their confirm"] += 1
        copy.received = self.incarnation
        self._survived(ledger, copy)
        return copy

    def _place(self, ledger: StreamLedger, copy: Copy, offset: int, where: str) -> None:
        """Is this its offset?"""
        if copy.offset == offset or ledger.loose:
            return
        if copy.offset >= 0:
            kind = "TWICE" if copy.received == self.incarnation else "MOVED"
            self._fail(kind, f"{where} came at offset {offset}")
        elif (other := ledger.at.get(offset)) is not None:
            self._fail("MOVED", f"{where} came at offset {offset}, where {other} was")
        ledger.seen(copy, offset)

    def whole(self, reader: int, count: int) -> None:
        """A reader has read all that a stream has: that are so many messages. Nobody else is connected."""
        source = self._readers[reader]
        ledger = self._queues[source.queue]
        assert isinstance(ledger, StreamLedger) and isinstance(source, Following)
        self.counts["streams read from end to end"] += 1
        first = source.first if source.first is not None else ledger.high
        until = source.due if source.first is not None and source.due is not None else first
        where = f"{ledger.name}, broker {self.incarnation}"
        if until - first != count:
            self._fail("COUNT", f"{where} has {count} entries, a reader got {until - first}")
        for copy in ledger.missing(self.incarnation, first, until):
            self._fail("GONE" if copy.received else "LOST", f"{where}: {copy}")
        there = [copy for offset, copy in ledger.at.items() if first <= offset < until]
        limits = ledger.limits
        size, most = sum(copy.size for copy in there), limits.bytes_max + limits.segment_bytes
        if limits.bytes_max and size > most + RUN_BYTES_MAX:
            self._fail("EXCESS", f"{where} has {size} bytes in {count} messages, at most {most}")
        ledger.whole = (first, until)

    # -- groups

    def _take(self, source: Reader, ledger: GroupLedger, entry: Entry) -> None:
        """A member of a group got an entry."""
        offset, redelivered = entry[0], entry[3]
        met = self._meet(ledger.stream, entry, ledger.name)
        if met is None or ledger.loose:
            return
        copy = ledger.own(met)
        copy.offset, copy.confirmed = offset, True
        where = f"{ledger.name}, broker {self.incarnation}: {copy}"
        if offset < ledger.low:
            self._fail("BACK", f"{where} lies before {ledger.low}, where the group goes on")
        if ledger.sure is not None:
            ledger.sure = min(ledger.sure, max(offset, ledger.low))
        if ledger.source.partitioned and source.connection != ledger.server:
            self._take_over(source, ledger, where)
        self._judge(source, ledger, copy, (0, offset + 1), redelivered)
        if redelivered:
            return
        self.counts["group entries received first"] += 1
        if ledger.source.partitioned and offset <= ledger.top:
            self._fail("ORDER", f"{where} came behind {ledger.top}")
        ledger.top = max(ledger.top, offset)

    def _take_over(self, source: Reader, ledger: GroupLedger, where: str) -> None:
        """A partition goes to another member."""
        self.counts["partitions handed over"] += 1
        ledger.server = source.connection
        for connection, copies in self._held.items():
            if connection != source.connection and any(
                self._queues[copy.queue] is ledger for copy in copies
            ):
                self._fail("ACTIVE", f"{where} went to another one than connection {connection}")
