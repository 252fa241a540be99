"""Gathers the records of turns into entries, one append in flight at a time.

While one entry is being made durable, the records of the next turns gather; they become the next
entry. Latency at low load is one append; at high load the entry grows instead of the queue.
It does no IO: whoever drives it calls `take`, appends to the log, and reports what happened.

    add ──► pending ──take──► entry in flight ──appended──► durable: confirms may leave

State      what is going on                                   what the driver does next
OPEN       nothing in flight                                  take, when something is pending
IN_FLIGHT  an entry was taken and is being appended           report appended or failed
UNKNOWN    the append failed, and its entry may have landed   read the log's tail, tail_read
RESEND     the entry did not land, it must be next            take gives the same bytes again
BLOCKED    the entry did not land for want of room            retry, after a while or after trim
FATAL      the log is not ours any more, or is damaged        take_failed, and stop

Event        call                what it means
ADD          add                 a turn had records
TAKE         take                it gave an entry (where it gives None, it is no event)
APPENDED     appended            the append returned
UNAVAILABLE  failed(Unavailable) the append's outcome is unknown, or the tail cannot be read yet
FULL         failed(Full)        no room, the entry did not land
REFUSED      failed(any other)   Fenced, Damaged, or an error that no engine should raise
LANDED       tail_read           the last entry of the log is ours
ABSENT       tail_read           nothing has landed since the last entry that we know
FOREIGN      tail_read           something else is behind the last entry that we know
RETRY        retry               there may be room again

The table; "-" is an error, a WrongEvent (a test reads this drawing and compares it with the code):

|           | ADD       | TAKE      | APPENDED | UNAVAILABLE | FULL    | REFUSED | LANDED | ABSENT | FOREIGN | RETRY  |
| OPEN      | OPEN      | IN_FLIGHT | -        | -           | -       | -       | -      | -      | -       | -      |
| IN_FLIGHT | IN_FLIGHT | -         | OPEN     | UNKNOWN     | BLOCKED | FATAL   | -      | -      | -       | -      |
| UNKNOWN   | UNKNOWN   | -         | -        | UNKNOWN     | -       | FATAL   | OPEN   | RESEND | FATAL   | -      |
| RESEND    | RESEND    | IN_FLIGHT | -        | -           | -       | -       | -      | -      | -       | -      |
| BLOCKED   | BLOCKED   | -         | -        | -           | -       | -       | -      | -      | -       | RESEND |
| FATAL     | FATAL     | -         | -        | -           | -       | -       | -      | -      | -       | -      |

Why ABSENT leads to the same bytes and not to a fresh entry: the first attempt may still land,
late. Promise 4 in base.py makes the second attempt find it then, instead of a stranger.
A ticket that fails is one that will not be confirmed; its records may be in the log all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from mansio.log.base import Damaged, Fenced, Full, Unavailable
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


class State(IntEnum):
    """See the top of this file."""

    OPEN = 0
    IN_FLIGHT = 1
    UNKNOWN = 2
    RESEND = 3
    BLOCKED = 4
    FATAL = 5


class Event(IntEnum):
    """See the top of this file."""

    ADD = 0
    TAKE = 1
    APPENDED = 2
    UNAVAILABLE = 3
    FULL = 4
    REFUSED = 5
    LANDED = 6
    ABSENT = 7
    FOREIGN = 8
    RETRY = 9


OPEN, IN_FLIGHT, UNKNOWN, RESEND, BLOCKED, FATAL = State

NEXT: dict[State, dict[Event, State]] = {
    OPEN: {Event.ADD: OPEN, Event.TAKE: IN_FLIGHT},
    IN_FLIGHT: {
        Event.ADD: IN_FLIGHT,
        Event.APPENDED: OPEN,
        Event.UNAVAILABLE: UNKNOWN,
        Event.FULL: BLOCKED,
        Event.REFUSED: FATAL,
    },
    UNKNOWN: {
        Event.ADD: UNKNOWN,
        Event.UNAVAILABLE: UNKNOWN,
        Event.REFUSED: FATAL,
        Event.LANDED: OPEN,
        Event.ABSENT: RESEND,
        Event.FOREIGN: FATAL,
    },
    RESEND: {Event.ADD: RESEND, Event.TAKE: IN_FLIGHT},
    BLOCKED: {Event.ADD: BLOCKED, Event.RETRY: RESEND},
    FATAL: {Event.ADD: FATAL},
}


class WrongEvent(RuntimeError):
    """The driver reported something that cannot have happened in this state: a bug in it."""


class Placed(NamedTuple):
    """Where the record of an owner lies in the log: `size` bytes of entry `seq` from `offset` on."""

    owner: Any
    seq: int
    offset: int
    size: int


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
        "_entry", "_entry_bytes_max", "_entry_owners", "_entry_ticket", "_epoch", "_failed_from",
        "_group_bytes_max", "_last_ticket", "_nonce", "_placed", "_turns", "durable", "fatal",
        "last_seq", "pending_bytes", "state",
    )  # fmt: skip

    def __init__(
        self,
        epoch: int,
        nonce: int,
        last_seq: int,
        group_bytes_max: int = GROUP_BYTES_MAX,
        entry_bytes_max: int = ENTRY_BYTES_MAX,
    ) -> None:
        """For the owner that opened the log with epoch and nonce.

        `last_seq`: what `open` returned. `group_bytes_max`: what turns are gathered up to.
        `entry_bytes_max`: the engine's capabilities.entry_bytes_max; only a turn that is larger
        is cut, between two records.
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
        self._entry = b""
        self._entry_ticket = 0  # the highest ticket whose last record has been taken
        self._entry_owners: list[tuple[int, Any]] = []
        self._placed: list[Placed] = []

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
        """Size of the entry that is in flight, or 0."""
        return len(self._entry)

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
        if self.state is OPEN:
            if not self._turns:
                return None
            self._entry = encode_entry(
                self._epoch, self._nonce, self.last_seq, self._take_records()
            )
        elif self.state is not RESEND:
            return None
        self._go(Event.TAKE)
        return self._entry, self.last_seq

    def appended(self, seq: int) -> int:
        """The append returned seq. Returns the highest durable ticket.

        Errors: ValueError if seq cannot be: a log that breaks its contract.
        """
        return self._settle(Event.APPENDED, seq)

    def take_placed(self) -> list[Placed]:
        """Where the owned records lie that have become durable since the last call, in order."""
        placed, self._placed = self._placed, []
        return placed

    def failed(self, error: Exception) -> State:
        """The append, or reading the tail after it, raised error. Returns the new state."""
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
        elif entry_id(last_entry) == entry_id(self._entry):
            return self._settle(Event.LANDED, last_seq)
        else:
            self._end(Event.FOREIGN, Fenced(f"seq {last_seq} was appended by another owner"))
        return self.durable

    def retry(self) -> None:
        """Offer the entry that met a full log again."""
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

    def _settle(self, event: Event, seq: int) -> int:
        if event in NEXT[self.state] and seq <= self.last_seq:
            raise ValueError(f"seq {seq} for an entry behind seq {self.last_seq}")
        self._go(event)
        self.last_seq = seq
        self.durable = self._entry_ticket
        for number, owner in self._entry_owners:
            self._placed.append(Placed(owner, seq, *record_place(self._entry, number)))
        self._entry = b""
        return self.durable

    def _end(self, event: Event, error: Exception) -> None:
        self._go(event)
        self.fatal = error
        self._failed_from = self.durable + 1
        self._entry = b""
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

    def _take_records(self) -> list[Record]:
        """The records of the pending turns that fit into one entry, of at least one."""
        room = self._group_bytes_max - ENTRY_OVERHEAD_BYTES
        turns = self._turns
        turn = turns.popleft()
        taken_bytes, records, owners = turn.size, turn.records, turn.owners
        self._entry_ticket = turn.ticket or self._entry_ticket
        while turns and taken_bytes + turns[0].size <= room:
            turn = turns.popleft()
            owners += [(number + len(records), owner) for number, owner in turn.owners]
            records += turn.records
            taken_bytes += turn.size
            self._entry_ticket = turn.ticket or self._entry_ticket
        self.pending_bytes -= taken_bytes
        self._entry_owners = owners
        return records
