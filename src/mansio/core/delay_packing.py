"""Packs delayed messages that came one by one, or with different delays, into runs in the order in which they fall due.

    many loose runs ──► sorted ──► runs of neighbours in time, written again ──► the loose runs are settled

A message is packed once at most. What it costs is a second record in the log; what it wins is that a message takes some
bytes of memory, not some hundreds, and that a run is read once when its time comes, not once for each message.
"""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mansio.core.held import Held
from mansio.core.routing import Route
from mansio.core.run import Run, make_run

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.delays import Delays

LOOSE_MAX: Final = 4096
"""Messages that wait to be packed: to pack so many takes some 10 ms."""
LOOSE_BYTES_MAX: Final = 4 << 20
LOOSE_EACH_BYTES: Final = 4096
"""Larger messages are worth a run of their own."""
LOOSE_RUN: Final = 64
"""Fewer messages than these do not make a run that is worth its cost."""
PACKED_MAX: Final = 256
"""Messages of a packed run; that makes a run's own cost 2 bytes a message."""
PACKED_BYTES_MAX: Final = 1 << 16
ROUTES_MAX: Final = 256
"""Routes of a run: a byte says which."""

_Item = tuple[int, int, Held, int]
"""(when it is due, id, run, number in the run)"""


def is_loose(held: Held) -> bool:
    """Whether a run is to be packed together with others."""
    run = held.run
    return run.bytes_each() < LOOSE_EACH_BYTES and (held.mixed or run.count < LOOSE_RUN)


def mix(contents: Sequence[bytes], routes: Sequence[Route], persistent: bool) -> Run:
    """Messages, each with its route, of which there are at most ROUTES_MAX, as a run."""
    run = make_run(contents, routes[0], persistent)
    known: dict[Route, int] = {}
    which = bytes([known.setdefault(route, len(known)) for route in routes])
    if len(known) > 1:
        run.routes, run.which = tuple(known), which
    return run


def pack(delays: "Delays", broker: "Broker") -> None:
    """Packs what is loose, as far as it is in memory and the log has room."""
    loose = delays.take_loose()
    packed = [held for held in loose if held.run.data]
    size = sum(held.run.data_bytes for held in packed)
    if len(packed) < 2 or size > broker.journal.movable_bytes():
        return
    kinds: dict[tuple[bool, int, int | None], list[_Item]] = {}
    for held in packed:
        run = held.run
        items = kinds.setdefault((run.persistent, run.priority, run.expiration_ms), [])
        items += [(held.due_ms(i), held.id(i), held, i) for i in held.numbers()]
    broker.journal.begin(size)
    for held in packed:
        delays.leave(held, held.empty())
    delays.prune()
    for items in kinds.values():
        items.sort()
        for part in _parts(items):
            _enter(delays, part)
    broker.journal.end()
    broker.journal.moved(size)


def _parts(items: list[_Item]) -> list[list[_Item]]:
    parts: list[list[_Item]] = []
    part: list[_Item] = []
    size = 0
    routes: set[Route] = set()
    for item in items:
        route = item[2].route(item[3])
        full = len(part) == PACKED_MAX or size >= PACKED_BYTES_MAX
        if not part or full or (len(routes) == ROUTES_MAX and route not in routes):
            part = []
            parts.append(part)
            size = 0
            routes.clear()
        part.append(item)
        routes.add(route)
        size += item[2].run.bytes_each()
    return parts


def _enter(delays: "Delays", part: list[_Item]) -> None:
    like = part[0][2].run
    contents = [held.run.content(i) for _, _, held, i in part]
    run = mix(contents, [held.route(i) for _, _, held, i in part], like.persistent)
    run.arrived_ms = like.arrived_ms
    run.priority, run.expiration_ms = like.priority, like.expiration_ms
    due, ids = array("Q", [item[0] for item in part]), array("Q", [item[1] for item in part])
    delays.enter(Held(run, due, ids))
