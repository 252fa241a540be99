"""Going through the keys of a virtual host: SCAN, KEYS, RANDOMKEY, DBSIZE.

A cursor says where in the order of a table the next key is, counted from its begin, and a scan goes backwards:

    oldest key ◄── not seen yet ──┤ cursor │ seen ──► newest key

Keys that come go to the end, those that go let the others move towards the begin: so no key that is there all the time
is missed, though nothing is remembered. Since a table cannot be entered in its middle, long ones are listed once for a
scan and the list is kept for a while; when it is gone, the cursor means the same in a new one.
"""

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final

from mansio.core.globs import Glob

if TYPE_CHECKING:
    from mansio.core.draws import Draws
    from mansio.core.keyspace import Keyspace

LISTED_MIN: Final = 1000
"""Fewer keys than this are listed anew for each call, in some 10 us."""
LISTS_MAX: Final = 8
"""Scans at once whose lists are kept, of 8 bytes for each key."""
_RANK_BITS: Final = 32
_LIST_BITS: Final = 19  # so that a cursor is exact as a double, which some clients make of it


class KeyScan:
    """Ways through one keyspace."""

    def __init__(self, keyspace: "Keyspace") -> None:
        self._keyspace = keyspace
        self._lists: OrderedDict[int, list[bytes]] = OrderedDict()
        self._last_list = 0

    def size(self) -> int:
        """How many keys there are."""
        return len(self._keyspace.strings) + len(self._keyspace.queue_keys())

    def random(self, draws: "Draws") -> bytes | None:
        """Any key, each as likely as any other; None if there is none."""
        keyspace = self._keyspace
        while True:
            strings, queues = keyspace.strings, keyspace.queue_keys()
            count = len(strings) + len(queues)
            if not count:
                return None
            number = draws.below(count)
            if number < len(strings):
                key = next(islice(strings, number, None))
            else:
                key = queues[number - len(strings)]
            if keyspace.exists(key):
                return key

    def matching(self, pattern: Glob | None) -> list[bytes]:
        """Every key that matches; None: every key."""
        keyspace = self._keyspace
        keys = [*keyspace.strings, *keyspace.queue_keys()]
        if pattern is not None:
            keys = [key for key in keys if pattern.matches(key)]
        return [key for key in keys if keyspace.exists(key)] if keyspace.times else keys

    def scan(
        self, cursor: int, count: int, pattern: Glob | None, kind: str | None
    ) -> tuple[int, list[bytes]]:
        """Looks at so many keys; the next cursor, 0 at the end, and which of them match and are of this kind.

        A cursor that never was leads to some part of the keys, or to the end.
        """
        in_strings = bool(cursor & 1)
        rank = (cursor >> 1) & ((1 << _RANK_BITS) - 1)
        number = cursor >> (1 + _RANK_BITS)
        if not cursor:
            in_strings, rank = False, 1 << _RANK_BITS
        found: list[bytes] = []
        while count > 0:
            number, keys = self._list(number, in_strings)
            rank = min(rank, len(keys))
            first = max(rank - count, 0)
            found += keys[first:rank]
            count -= max(rank - first, 1)
            rank = first
            if rank:
                break
            self._lists.pop(number, None)
            if in_strings:
                return 0, self._of(found, pattern, kind)
            in_strings, rank, number = True, len(self._keyspace.strings), 0
        return (number << _RANK_BITS | rank) << 1 | in_strings, self._of(found, pattern, kind)

    def _list(self, number: int, in_strings: bool) -> tuple[int, list[bytes]]:
        """All keys of a part, as they were when the list of this number was made, or are now."""
        known = self._lists.get(number)
        if known is not None:
            self._lists.move_to_end(number)
            return number, known
        keys = list(self._keyspace.strings) if in_strings else self._keyspace.queue_names()
        if len(keys) < LISTED_MIN:
            return 0, keys
        self._last_list = self._last_list % ((1 << _LIST_BITS) - 1) + 1
        self._lists[self._last_list] = keys
        if len(self._lists) > LISTS_MAX:
            self._lists.popitem(last=False)
        return self._last_list, keys

    def _of(self, keys: list[bytes], pattern: Glob | None, kind: str | None) -> list[bytes]:
        keyspace = self._keyspace
        if pattern is not None:
            keys = [key for key in keys if pattern.matches(key)]
        if kind is not None:
            return [key for key in keys if keyspace.kind_of(key) == kind]
        return [key for key in keys if keyspace.exists(key)]
