"""Ids of a stream's entries, as Redis has them: `milliseconds-number`, each above the one before.

    id       ms << 64 | number      one integer, so that ids compare as they follow each other
    run.ids  number of its first entry, whose ms is `arrived_ms`: those behind it have the next numbers
             array of ms, number, ms, number …: each has its own

What comes by itself gets the time at which it came, so that a run needs one number; only runs that were joined, or
whose publisher has chosen the ids, have a table.

A client may set the last id of a stream below that of entries which are gone, and come to those ids again: what is gone
behind the last entry of a run that is there then has the highest id that is left for it.
"""

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from mansio.core.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mansio.core.stream import Stream

NUMBER_MAX: Final = (1 << 64) - 1
ID_MAX: Final = (1 << 128) - 1


def make_id(ms: int, number: int) -> int:
    """The id of these two parts."""
    return ms << 64 | number


def id_text(id: int) -> bytes:
    """An id as Redis writes it."""
    return b"%d-%d" % (id >> 64, id & NUMBER_MAX)


def id_at(run: Run, i: int) -> int:
    """The id of entry `i` of a run."""
    ids = run.ids
    if isinstance(ids, int):
        return (run.arrived_ms << 64) + ids + i
    assert ids is not None
    return ids[2 * i] << 64 | ids[2 * i + 1]


def index_of(run: Run, id: int) -> int:
    """Which entry of a run is the first with this id or a higher one; its count when none is."""
    ids = run.ids
    if isinstance(ids, int):
        return min(max(id - (run.arrived_ms << 64) - ids, 0), run.count)
    return bisect_left(range(run.count), id, key=lambda i: id_at(run, i))


def compact(arrived_ms: int, ids: "Sequence[int]") -> "int | array[int]":
    """What a run has of these ids."""
    first = ids[0]
    number = first & NUMBER_MAX
    last = first + len(ids) - 1
    if first >> 64 == arrived_ms and ids[-1] == last and last >> 64 == arrived_ms:
        return number
    table = array("Q")
    for id in ids:
        table.append(id >> 64)
        table.append(id & NUMBER_MAX)
    return table


def joined(runs: "Sequence[Run]", arrived_ms: int) -> "int | array[int]":
    """What one run has of the ids of these, which follow each other."""
    first = runs[0].ids
    number = first if isinstance(first, int) else -1
    for run in runs:
        if run.ids != number or run.arrived_ms != arrived_ms:
            break
        number += run.count
    else:
        assert isinstance(first, int)
        return first
    table = array("Q")
    for run in runs:
        ids = run.ids
        if isinstance(ids, int):
            flat = [run.arrived_ms] * (2 * run.count)
            flat[1::2] = range(ids, ids + run.count)
            table.extend(flat)
        else:
            assert ids is not None
            table.extend(ids)
    return table


def lower(run: Run, start: int, most: int) -> None:
    """Entries of a run from `start` on, which are gone, have no higher ids than this one from now on."""
    ids = [id_at(run, i) for i in range(start)] + [most] * (run.count - start)
    run.ids = array("Q", [part for id in ids for part in (id >> 64, id & NUMBER_MAX)])


def next_id(last: int, now_ms: int) -> int:
    """The id of what comes now, behind this one; above ID_MAX where there is none."""
    return max(last + 1, now_ms << 64, 1)


def number(stream: "Stream", run: Run) -> None:
    """The entries of a run come into a stream now: they get the next ids."""
    first = next_id(stream.last_id, run.arrived_ms)
    last = first + run.count - 1
    if first >> 64 == run.arrived_ms == last >> 64:
        run.ids = first & NUMBER_MAX
    else:
        run.ids = compact(run.arrived_ms, [min(first + i, ID_MAX) for i in range(run.count)])
    stream.last_id = min(last, ID_MAX)
