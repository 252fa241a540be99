"""What the broker writes: the records of a turn, whose they are, and what of the log they make superfluous.

publish, settle, declare …  ──►  end_turn: take() ──► records, owners (runs that want to know where theirs lie)
the entry is durable        ──►  placed(…)        ──► cut() tells what the log may forget
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.items import Batch, Items
from mansio.core.limits import PART_BYTES_MAX
from mansio.core.records import (
    SNAPSHOT,
    STARTED,
    STOPPED,
    Parts,
    encode_counted,
    encode_publish,
    encode_returned,
    encode_settle,
    encode_topology,
)
from mansio.core.retention import Retention
from mansio.core.run import Range, Run
from mansio.core.topology_records import take_snapshot

if TYPE_CHECKING:
    from mansio.core.broker import Broker

SPARE_SHARE: Final = 4
"""While the log is low, two buckets may be carried at a time, or this part of what is free: acknowledgements must find
room behind it, but a large message at the front must not keep the whole log."""

Owners = list[tuple[int, Any]]
"""(number of a record, whose it is: a run's, SNAPSHOT, or of the buckets that settled runs leave)."""


class Journal:
    """The broker's view of its log."""

    def __init__(self, broker: "Broker") -> None:
        self.retention = Retention(broker.limits)
        self.owners: Owners = []  # of the records that were taken last
        self.breaks: list[int] = []  # before which of them a new entry has to begin
        self.behind = False  # the log is slower than publishers, who should wait for it
        self.room_bytes = 1 << 62
        """What this turn may still publish, as far as the log can promise; below 0 while it is low."""
        self._room_bytes = self.room_bytes  # the same without what this turn has published
        self.spare_bytes = 0  # while it is low: what it may take in all, less what was carried since that was looked at
        self.waiters: dict[Any, None] = {}  # who has published what there is no room for, in order
        self._broker = broker
        self._records: list[Parts] = []
        self._owners: Owners = []
        self._breaks: list[int] = []
        self._part_bytes = 0  # of messages since the last break
        self._whole = 0  # of what is being applied as a whole, see `begin`, one within the other
        self.ended = False  # nothing may follow that a restart would take for work
        self._stirred = True  # the log has grown since there was last something to tidy up

    def write(self, parts: Parts) -> None:
        """Adds a record to this turn's."""
        self._records.append(parts)

    def publish(self, run: Run) -> None:
        """A run went to its `places`."""
        self._grow(run.data_bytes)
        self.room_bytes -= len(run.data)
        self._owners.append((len(self._records), run))
        self._records.append(encode_publish(run, run.places))

    def store(self, parts: Parts, batch: Batch) -> None:
        """Items of this batch have other values now, or none."""
        size = sum(map(len, parts))
        self._grow(size)
        self.room_bytes -= size
        if batch.live:
            self._owners.append((len(self._records), batch))
        self._records.append(parts)

    def _grow(self, size: int) -> None:
        self._part_bytes += size
        if self._part_bytes > PART_BYTES_MAX and not self._whole:
            self._divide()
            self._part_bytes = size

    def begin(self, size: int) -> None:
        """A transaction with messages of so many bytes is applied, a move, or a message whose id is remembered: up to
        `end`, all goes into one entry."""
        if self._part_bytes + size > PART_BYTES_MAX and not self._whole:
            self._divide()
        self._whole += 1

    def end(self) -> None:
        """It was applied."""
        self._whole -= 1

    def _divide(self) -> None:
        """What follows goes into another entry, and what was settled or changed up to here does not."""
        self._broker.keyspaces.flush()
        self._records += self._broker.settling.take_records()
        if self._records:
            self._breaks.append(len(self._records))
        self._part_bytes = 0

    def measured(self, room_bytes: int, low: bool) -> None:
        """What the log has room for in this turn, and whether that is not for publishes any more."""
        published_bytes = self._room_bytes - self.room_bytes
        self._room_bytes = -1 if low else room_bytes
        self.room_bytes = self._room_bytes - published_bytes
        self._broker.low_on_disk = low
        if not low:
            self.spare_bytes = 0  # publishes may take it from now on
        if low or self.waiters:
            self._stirred = True

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much may be published now without a risk that settlements find no room behind it.

        Nothing may while the log is low, as in RabbitMQ. What is not for the log, 0 bytes, may at any other time.
        """
        if self._broker.low_on_disk:
            return False
        return size_bytes <= self.room_bytes or not size_bytes

    def movable_bytes(self) -> int:
        """How much may be written in this turn of what is settled elsewhere by it: as publishes, but while the log is
        low a share of what is left, since otherwise it might stay low for ever."""
        if not self._broker.low_on_disk:
            return self.room_bytes
        return self.spare_bytes // SPARE_SHARE

    def moved(self, size: int) -> None:
        """So much was."""
        if self._broker.low_on_disk:
            self.spare_bytes -= size

    def take(self) -> list[Parts]:
        """The turn's records; `owners` and `breaks` are theirs."""
        if self._stirred and not self.ended:
            self._stirred = self._tidy()
        self._room_bytes = self.room_bytes
        records, self._records = self._records, []
        self.owners, self._owners = self._owners, []
        self.breaks, self._breaks = self._breaks, []
        self._part_bytes = 0
        records += self._broker.settling.take_records()
        if records and (leaving := self.retention.take_leaving()):
            self.owners.append((len(records) - 1, leaving))
        return records

    def _tidy(self) -> bool:
        """Writes again what keeps the log from being cut; whether some of it has to be read first."""
        retention = self.retention
        bucket_bytes = self._broker.limits.bucket_bytes
        low = self._broker.low_on_disk or self.room_bytes < 2 * bucket_bytes or bool(self.waiters)
        most_bytes = max(self.room_bytes, 2 * bucket_bytes, self.spare_bytes // SPARE_SHARE)
        carried, absent = retention.take_carried(low, most_bytes)
        self.spare_bytes -= sum(run.size for run in carried)
        stores: dict[Items, None] = {}
        for run in carried:
            if not isinstance(run, Batch):
                self.carry(run)
            elif run.items is not None:
                run.items.take_up(run)
                stores[run.items] = None
        for items in stores:
            items.flush()
        for run in absent:
            self._broker.paging.loading.want(run)
        if retention.take_snapshot_due(low):
            self._owners.append((len(self._records), SNAPSHOT))
            self._records.append(encode_topology(take_snapshot(self._broker)))
        return bool(absent)

    def placed(self, seq: int, size: int, placed: Iterable[tuple[Any, int, int, int]]) -> None:
        """Entry `seq` of this many bytes is durable; `placed`: (owner, seq, offset, size of the record)."""
        self._stirred = True
        self.retention.entry(seq, size)
        paging = self._broker.paging
        streams = self._broker.streams
        for each in placed:
            self.retention.place(*each)
            if streams and isinstance(each[0], Run):
                streams.placed(each[0])
            if paging.budget_bytes and isinstance(each[0], Run) and each[0].live:
                paging.placed(each[0])

    def started(self, version: str, new: bool) -> None:
        """This broker goes on with the log, or begins one that is `new`: it has had no record yet."""
        self.write(encode_topology({"do": STARTED, "version": version, "new": new}))

    def stopped(self) -> None:
        """Nobody is connected any more: what waits to be delivered again is written down, and nothing behind it."""
        self.ended = True
        self._broker.keyspaces.flush()
        self._records += self._broker.settling.take_records()
        for host in self._broker.vhosts.values():
            for queue in host.queues.values():
                if queue.logged:
                    returned = [
                        (span.base + span.start, span.stop - span.start, 1)
                        for span in queue.spans()
                        if span.redelivered and span.run.persistent
                    ]
                    if returned:
                        self.write(encode_returned(queue.id, returned))
        self.write(encode_topology({"do": STOPPED}))

    def carry(self, run: Run) -> None:
        """Writes a run again, with what is settled of it and how often it was given back."""
        self.publish(run)
        for queue_id, deliveries, due_ms, returned in run.returns or ():
            self.write(encode_counted(queue_id, deliveries, due_ms, [returned]))
        if run.held is not None and (left := run.held.gone()):
            self.write(encode_settle(run.places[0][0], left))
        gone: dict[int, list[Range]] = {}
        for queue_id, settled in run.gone or ():
            gone.setdefault(queue_id, []).append(settled)
        for queue_id, ranges in gone.items():
            self.write(encode_settle(queue_id, ranges))
