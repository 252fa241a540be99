"""The contract between the broker and durable storage. These docstrings are the contract.

A log is one row of entries, written by one owner at a time. One object that keeps this contract
is one *handle*; several handles, in one process or on several machines, may share one log.

    seq      1         2        3        4 ───────── 5        6        7
          ┌───────┬────────┬────────┬────────┬────────┬────────┬────────┐
          │fence  │entry   │entry   │fence   │entry   │entry   │entry   │
          │epoch 1│epoch 1 │epoch 1 │epoch 2 │epoch 1 │epoch 2 │epoch 2 │
          └───────┴────────┴────────┴────────┴────────┴────────┴────────┘
            open(1)                   open(2)  stale:   prev_seq
                                               dropped  is 4

Words:
- *seq*: the place of an entry, from 1 on, rising by 1, never used twice, also not after `trim`.
- *epoch*: the number of an owner's term, from 1 on. The owner of the log is the one whose
  fence has the highest epoch; between two fences of one epoch, the first one counts.
- *nonce*: 64 bits that tell apart two owners that chose the same epoch.
- *fence*: the entry without records that `open` appends. From there on every entry of a lower
  epoch, or of this epoch with another nonce, is *stale*: it is in the log, but not part of it.
  `bounds`, `replay` and `expected_seq` behave as if stale entries were not there.

Promises that every engine keeps, and tests/log/conformance.py checks:
1. `append` returns only when the entry is durable: it survives what the capability record says.
2. An entry is in the log whole or not at all. A torn tail, on a medium that can tear, is cut
   off before `open` appends its fence; nothing that `append` returned is ever cut off.
3. After an error the log is as before it, except for `Unavailable` from `append` or `open`.
4. Appending the bytes of the log's last entry again, with the same expected_seq, returns its seq
   and changes nothing. So an append whose outcome was unknown may be offered again, even if its
   first attempt was only late.

Adding an engine: write it in a module beside this one, give tests/log/test_conformance.py a
harness for it, and run bench on it. If it needs another promise from its users, change it here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from mansio.log.entry import Entry

EPOCH_MAX = (1 << 63) - 1
"""The highest epoch: engines keep it in a signed 64-bit number."""

NONCE_MAX = (1 << 64) - 1
"""The highest nonce: the entry has 64 bits for it."""


class LogError(Exception):
    """What a log can answer instead of doing what it was asked. Text is for people only."""


class Fenced(LogError):
    """This handle does not own the log, or expected_seq was wrong. Final for this handle.

    Nothing was appended. The owner must stop confirming and give its queues up.
    """


class Unavailable(LogError):
    """The log cannot be reached now. From `append` and `open`: *the outcome is unknown*.

    The entry may be in the log, may never be, or may still land later. Read the tail again
    (`bounds`, `read`) before the next append; see group_commit.py.
    """


class Full(LogError):
    """There is no room. Nothing was appended; the same append may be tried again after `trim`."""


class Missing(LogError, LookupError):
    """The seq was trimmed or is not in the log yet."""


class Damaged(LogError):
    """Stored bytes are not what was written, or an entry is missing between two others.

    `what`: the finding. `place`: file or stream and seq, filled in by the engine with `at`.
    `offset`: the byte of the entry at which it was found.
    """

    def __init__(self, what: str, offset: int = 0, place: str = "entry") -> None:
        super().__init__(what, offset, place)
        self.what = what
        self.offset = offset
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}, byte {self.offset}: {self.what}"

    def at(self, place: str) -> Damaged:
        """The same finding, with the place that only the engine knows."""
        return Damaged(self.what, self.offset, place)


class Capabilities(NamedTuple):
    """What an engine can do. It does not change during the life of a handle.

    `durable`: entries survive the end of the process. `replicated`: and the loss of a machine.
    `entry_bytes_max`: the largest entry that `append` takes, in bytes. `depth`: how many appends it
    is worth to have under way; above 1 only where seqs have no gaps, and nothing lands behind an error.
    """

    durable: bool
    replicated: bool
    entry_bytes_max: int
    depth: int = 1


class Bounds(NamedTuple):
    """The ends of the log. `first_seq > last_seq`: nothing is kept; `last_seq` 0: nothing ever was.

    `first_seq`: the oldest entry that can be read. `last_seq`: the newest one that is not stale,
    also if it has been trimmed. `epoch`: the highest one opened, 0 before the first.
    """

    first_seq: int
    last_seq: int
    epoch: int


class Space(NamedTuple):
    """The room of a log.

    `low`: entries still find room, but what can wait should, until it is False again.
    `free_bytes`: what the log may still take. `used_bytes`: what it takes. `segments`: parts of
    it that hold entries which are kept, for an engine that has parts.
    """

    low: bool
    free_bytes: int
    used_bytes: int
    segments: int


class Log(Protocol):
    """One handle on a log. `bounds`, `replay` and `read` need no `open`."""

    @property
    def capabilities(self) -> Capabilities:
        """Known from the start, without IO."""

    @property
    def low(self) -> bool:
        """`Space.low` as of the last answer of this handle, without IO."""

    @property
    def room_bytes(self) -> int:
        """Entries of so many bytes in all surely find room: their appends do not raise Full, and they leave
        alone what is kept for those that cannot wait. One below 4 KiB counts as 4 KiB.

        As of the last answer of this handle, which knows of every append before it; without IO. 0 while `low`,
        and before the first answer.
        """

    async def open(self, epoch: int, nonce: int = 0) -> int:
        """Take the log over: append a fence of this epoch, unconditionally, and return its seq.

        `epoch`: 1 to EPOCH_MAX, above `bounds().epoch`. `nonce`: 0 to NONCE_MAX, random where two
        owners may choose the same epoch at once. Once per handle. There is always room for it.
        Errors: Fenced if an epoch as high as this one, or higher, has been opened, or the handle
        was opened or closed before; Unavailable: use a new handle and a higher epoch; Damaged;
        ValueError for an epoch or nonce out of range.
        """

    def append(self, entry: bytes, expected_seq: int) -> Awaitable[int]:
        """Append an entry behind entry expected_seq. Returning its seq means that it is durable.

        `entry`: made by encode_entry with the epoch and nonce of `open` and prev_seq=expected_seq.
        The seq is expected_seq + 1, or higher if stale entries lie between.
        Pipelining is allowed: call again before the first call has returned, with the seq that
        it will have. Appends take effect in the order of the calls. The caller confirms in this
        order and treats everything after the first failure as failed.
        Errors: Fenced if a higher epoch was opened, the handle is not open, or expected_seq is
        not the last seq (but see promise 4); Unavailable; Full; ValueError if the entry is not
        of this owner and expected_seq, or is larger than capabilities.entry_bytes_max.
        """

    def replay(self, from_seq: int = 1) -> AsyncIterator[tuple[int, Entry]]:
        """Yield (seq, entry) in order, from from_seq or the first one kept, to the present end.

        Leaves out fences and stale entries, also when the fence that made them stale lies before
        from_seq or has been trimmed. May leave out entries that are trimmed meanwhile.
        Errors: Damaged at an entry that fails its check or does not follow the one before it;
        all entries before it have been yielded. Unavailable.
        """

    async def read(self, seq: int, offset: int, length: int) -> bytes:
        """Return length bytes of an entry from offset on, fewer only where the entry ends.

        The check sum is not verified: read a whole entry (offset 0, length
        capabilities.entry_bytes_max) and decode it for that.
        Errors: Missing if seq is not within `bounds`; Unavailable; Damaged if the engine notices;
        ValueError for a negative offset or length.
        """

    async def read_many(
        self, items: Sequence[tuple[int, int, int]]
    ) -> Sequence[bytes | memoryview]:
        """As `read` of each (seq, offset, length), in one go: maybe views of what was read, which holds all of it in
        memory. Errors: those of `read`, for any."""

    async def space(self) -> Space:
        """Look at the room that is left, and try to make more of it usable.

        Asked again and again, it notices that there is room again without any other call.
        Errors: Unavailable.
        """

    async def trim(self, upto_seq: int) -> None:
        """Hint that no entry up to and including upto_seq will be read or replayed again.

        The engine may keep them, or forget them later. A seq above the last one means all.
        Errors: Fenced if the handle knows that it does not own the log; Unavailable.
        """

    async def bounds(self) -> Bounds:
        """The ends of the log after every append that any owner has seen return.

        Errors: Unavailable; Damaged.
        """

    async def close(self) -> None:
        """Wait for the appends under way, then let go. Closing twice is allowed.

        After it, `open`, `append` and `trim` raise Fenced, everything else Unavailable.
        """
