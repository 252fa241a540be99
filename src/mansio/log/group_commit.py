"""Gathers the records of turns into entries, few appends in flight at a time.

While `depth` entries are being made durable, the records of the next turns gather; they become the
next entry. Latency at low load is one append; at high load the entry grows instead of the queue.
With a depth of 2 the log has its next entry when it has written one, and need not wait for us. A
little waits all the same: an entry of its own costs the disk a whole sync, for which those behind wait.
It does no IO: whoever drives it calls `take`, appends to the log, and reports what happened.

    add ──► pending ──take──► entry in flight ──appended──► durable: confirms may leave

Its states, and what leads from one to another: commit_states.py. A ticket that fails is one that will
not be confirmed; its records may be in the log all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from mansio.log.base import Damaged, Fenced, Full, Unavailable
from mansio.log.commit_states import (
    BLOCKED,
    FATAL,
    IN_FLIGHT,
    NEXT,
    OPEN,
    RESEND,
    UNKNOWN,
    Event,
    State,
    WrongEvent,
)
from mansio.log.entry import (
    ENTRY_BYTES_MAX,
    ENTRY_OVERHEAD_BYTES,
    RECORD_OVERHEAD_BYTES,
    Record,
    encode_entry,
    entry_id,
    record_place,
)

GROUP_BYTES_MAX = (1 << 20) - (4 << 10)
"""Entries stay below 1 MiB, the usual largest message of a distributed log, headers included.

Beyond it the pending turns are cut, between two turns, into several entries. A turn that is larger
by itself becomes an entry of its own: what it did is durable whole or not at all. Only a turn that
is too large for any entry is cut as well: where it says, see `add`.
"""
AHEAD_BYTES_MIN = 32 << 10
"""Pending bytes from which on a second entry is sent ahead. At 5,000 messages a second, each in an entry of its own,
two in flight made confirms take 0.7 to 1.2 ms, one 0.6 (measured); under full load far more than this is pending."""


class Placed(NamedTuple):
    """Where the record of an owner lies in the log: `size` bytes of entry `seq` from `offset` on."""

    owner: Any
    seq: int
    offset: int
    size: int


class Landed(NamedTuple):
    """An entry that has become durable: `size` bytes at `seq`, and where its owned records lie."""

    seq: int
    size: int
    placed: list[Placed]


class _Flight:
    """An entry that was taken. `ticket`: the highest one whose last record was taken with it."""

    __slots__ = ("entry", "owners", "ticket")

    def __init__(self, entry: bytes, ticket: int, owners: list[tuple[int, Any]]) -> None:
        self.entry = entry
        self.ticket = ticket
        self.owners = owners

    def landed(self, seq: int) -> Landed:
        """It lies there."""
        placed = [Placed(who, seq, *record_place(self.entry, n)) for n, who in self.owners]
        return Landed(seq, len(self.entry), placed)


class _Turn:
    """The records of one turn, or a piece of a turn that is cut."""

    __slots__ = ("owners", "records", "size", "ticket")

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket  # durable with this piece; 0: with a later one
        self.records: list[Record] = []
        self.owners: list[tuple[int, Any]] = []  # (number of the record, whose it is)
        self.size = 0  # in an entry


class GroupCommit:
    """The state machine above, for one owner of one log.

    `state`: read-only. `durable`: the highest durable ticket; all lower ones are durable too.
    `last_seq`: the last seq known to be durable. `pending_bytes`: bytes not yet taken, to be
    watched by the driver, which stops reading from publishers when they grow; `add` never
    refuses, because a settlement may not fail. `fatal`: the error that ended it, or None.
    """

    __slots__ = (
        "_ahead_bytes_min", "_depth", "_entry_bytes_max", "_epoch", "_failed_from", "_flights", "_group_bytes_max",
        "_landed", "_last_ticket", "_nonce", "_offered", "_taken_ticket", "_turns", "durable",
        "fatal", "last_seq", "pending_bytes", "state",
    )  # fmt: skip

    def __init__(
        self,
        epoch: int,
        nonce: int,
        last_seq: int,
        group_bytes_max: int = GROUP_BYTES_MAX,
        entry_bytes_max: int = ENTRY_BYTES_MAX,
        depth: int = 1,
        ahead_bytes_min: int = 0,
    ) -> None:
        """For the owner that opened the log with epoch and nonce.

        `last_seq`: what `open` returned. `group_bytes_max`: what turns are gathered up to.
        `entry_bytes_max`: the engine's capabilities.entry_bytes_max; only a turn that is larger
        is cut, between two records. `depth`: how many entries may be in flight; above 1 only for
        an engine that gives them seqs without gaps, and where none lands behind an error; all but
        the first one are taken only when `ahead_bytes_min` bytes are pending.
        """
        self.state = OPEN
        self.durable = 0
        self.last_seq = last_seq
        self.pending_bytes = 0
        self.fatal: Exception | None = None
        self._epoch = epoch
        self._nonce = nonce
        self._group_bytes_max = group_bytes_max
        self._entry_bytes_max = entry_bytes_max
        self._last_ticket = 0
        self._failed_from = 0
        self._turns: deque[_Turn] = deque()  # not taken yet
        self._depth = depth
        self._ahead_bytes_min = ahead_bytes_min
        self._flights: deque[_Flight] = deque()
        self._offered = 0  # how many of them the driver has taken, or taken again
        self._taken_ticket = 0  # the highest ticket whose last record has been taken
        self._landed: list[Landed] = []

    @property
    def blocked(self) -> bool:
        """Is the log full? Then the driver calls `retry` later."""
        return self.state is BLOCKED

    @property
    def unknown(self) -> bool:
        """Is the outcome of an append unknown? Then the driver reads the tail."""
        return self.state is UNKNOWN

    @property
    def idle(self) -> bool:
        """Is every record that was added durable?"""
        return self.state is OPEN and not self._turns

    @property
    def entry_bytes(self) -> int:
        """Size of the entries in flight, together."""
        return sum(len(flight.entry) for flight in self._flights)

    def add(
        self,
        records: Sequence[Record],
        owners: Sequence[tuple[int, Any]] = (),
        breaks: Sequence[int] = (),
    ) -> int:
        """Gather a turn's records and return the turn's ticket: 1, 2, 3, …

        `owners`: (number of a record, an object that wants to know its place), by rising number.
        `breaks`: numbers of records at which another entry may begin, and what is between two of
        them goes into one entry if that is possible at all.
        After the end (FATAL) the ticket has failed already. Errors: ValueError for no records: a
        turn without records has nothing to wait for.
        """
        if not records:
            raise ValueError("a ticket needs a record")
        self._go(Event.ADD)
        ticket = self._last_ticket = self._last_ticket + 1
        if self.state is not FATAL:
            self._turns += self._cut(ticket, records, owners, breaks)
        return ticket

    def take(self) -> tuple[bytes, int] | None:
        """The entry to append now and its expected_seq; None if there is none or it must wait."""
        if Event.TAKE not in NEXT[self.state]:
            return None
        if self._offered == len(self._flights):
            if not self._turns or self._offered == self._depth:
                return None
            if self._offered and self.pending_bytes < self._ahead_bytes_min:
                return None
            self._flights.append(self._encode(self.last_seq + self._offered))
        self._go(Event.TAKE)
        self._offered += 1
        return self._flights[self._offered - 1].entry, self.last_seq + self._offered - 1

    def appended(self, seq: int) -> int:
        """The first append in flight returned seq. Returns the highest durable ticket.

        Errors: ValueError if seq cannot be: a log that breaks its contract.
        """
        if Event.APPENDED in NEXT[self.state] and seq <= self.last_seq:
            raise ValueError(f"seq {seq} for an entry behind seq {self.last_seq}")
        self._go(Event.APPENDED)
        self._offered -= 1
        self._settle(seq)
        if self._flights:
            self.state = IN_FLIGHT
        return self.durable

    def take_landed(self) -> list[Landed]:
        """The entries that have become durable since the last call, in order."""
        landed, self._landed = self._landed, []
        return landed

    def failed(self, error: Exception) -> State:
        """The first append in flight, or reading the tail after it, raised error, and no other one is under way any
        more. Returns the new state."""
        self._offered = 0
        if isinstance(error, Unavailable):
            self._go(Event.UNAVAILABLE)
        elif isinstance(error, Full):
            self._go(Event.FULL)
        else:
            self._end(Event.REFUSED, error)
        return self.state

    def tail_read(self, last_seq: int, last_entry: bytes | None) -> int:
        """What the end of the log is, read after an append with unknown outcome.

        `last_seq`: Log.bounds().last_seq; `last_entry`: the whole entry there, or None if last_seq
        is still `self.last_seq`. Returns the highest durable ticket; look at `state` for the rest.
        Errors: ValueError if last_entry is needed and None.
        """
        if last_seq == self.last_seq:
            self._go(Event.ABSENT)
        elif last_seq < self.last_seq:
            error = Damaged(f"the log ends at seq {last_seq}, but seq {self.last_seq} was durable")
            self._end(Event.FOREIGN, error)
        elif last_entry is None:
            raise ValueError(f"the entry at seq {last_seq} is needed")
        elif behind := self._flights_up_to(entry_id(last_entry)):
            self._go(Event.LANDED)
            for seq in range(last_seq - behind + 1, last_seq + 1):
                self._settle(seq)
            if self._flights:
                self.state = RESEND
        else:
            self._end(Event.FOREIGN, Fenced(f"seq {last_seq} was appended by another owner"))
        return self.durable

    def retry(self) -> None:
        """Offer what met a full log again."""
        self._go(Event.RETRY)

    def take_failed(self) -> list[int]:
        """The tickets that have failed since the last call, in order; empty before the end."""
        if self.fatal is None:
            return []
        failed = list(range(self._failed_from, self._last_ticket + 1))
        self._failed_from = self._last_ticket + 1
        return failed

    def _go(self, event: Event) -> None:
        state = NEXT[self.state].get(event)
        if state is None:
            raise WrongEvent(f"{event.name} in state {self.state.name}")
        self.state = state

    def _flights_up_to(self, last_id: bytes) -> int:
        """How many are in flight up to the one with this id; 0 if none has it."""
        for number, flight in enumerate(self._flights, 1):
            if entry_id(flight.entry) == last_id:
                return number
        return 0

    def _settle(self, seq: int) -> None:
        """The first one in flight is durable."""
        flight = self._flights.popleft()
        self.last_seq = seq
        self.durable = flight.ticket
        self._landed.append(flight.landed(seq))

    def _end(self, event: Event, error: Exception) -> None:
        self._go(event)
        self.fatal = error
        self._failed_from = self.durable + 1
        self._flights.clear()
        self._turns.clear()
        self.pending_bytes = 0

    def _cut(
        self,
        ticket: int,
        records: Sequence[Record],
        owners: Sequence[tuple[int, Any]],
        breaks: Sequence[int],
    ) -> list[_Turn]:
        """The turn, in as many pieces as the engine needs: nearly always one."""
        room = self._entry_bytes_max - ENTRY_OVERHEAD_BYTES
        turns = [_Turn(0)]
        starts = [0]
        for number, record in enumerate(records):
            size = sum(map(len, record)) if isinstance(record, tuple) else len(record)
            size += RECORD_OVERHEAD_BYTES
            self.pending_bytes += size
            if turns[-1].records and (turns[-1].size + size > room or number in breaks):
                turns.append(_Turn(0))
                starts.append(number)
            turns[-1].records.append(record)
            turns[-1].size += size
        turns[-1].ticket = ticket
        for number, owner in owners:
            at = bisect_right(starts, number) - 1
            turns[at].owners.append((number - starts[at], owner))
        return turns

    def _encode(self, prev_seq: int) -> _Flight:
        """An entry of the pending turns that fit into one, of at least one."""
        room = self._group_bytes_max - ENTRY_OVERHEAD_BYTES
        turns = self._turns
        turn = turns.popleft()
        taken_bytes, records, owners = turn.size, turn.records, turn.owners
        self._taken_ticket = turn.ticket or self._taken_ticket
        while turns and taken_bytes + turns[0].size <= room:
            turn = turns.popleft()
            owners += [(number + len(records), owner) for number, owner in turn.owners]
            records += turn.records
            taken_bytes += turn.size
            self._taken_ticket = turn.ticket or self._taken_ticket
        self.pending_bytes -= taken_bytes
        entry = encode_entry(self._epoch, self._nonce, prev_seq, records)
        return _Flight(entry, self._taken_ticket, owners)
