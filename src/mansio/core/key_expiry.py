"""When keys go away by themselves: any key may have a time, whatever it stands for. Times are Unix time in ms.

A key lives up to its time, and is gone in the next millisecond (redis-server 7.0.15): whoever looks at it then finds
nothing, and a deadline takes it away if nobody looks.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from mansio.core.deadlines import NEVER_MS

if TYPE_CHECKING:
    from mansio.core.broker import Broker

EXPIRED_MAX: Final = 2000
"""Keys that go in one turn by their deadlines, some 3 ms; the others follow in the next turn."""
STALE_MAX: Final = 1000
"""Times in the heap that do not count any more, beside as many as count, before it is made anew."""


class KeyExpiry:
    """Times of the keys of one virtual host. `times` is for others to read."""

    def __init__(self, broker: "Broker", expired: Callable[[bytes], None]) -> None:
        """`expired` is called for a key that is gone now, and has no time any more."""
        self.times: dict[bytes, int] = {}
        self.deadline_ms = NEVER_MS
        self.expired_keys = 0
        self._broker = broker
        self._expired = expired
        self._heap: list[tuple[int, bytes]] = []

    def set(self, key: bytes, when_ms: int) -> None:
        """The key lives until then."""
        times = self.times
        times[key] = when_ms
        heap = self._heap
        if len(heap) > 2 * len(times) + STALE_MAX:
            heap[:] = [(when_ms, key) for key, when_ms in times.items()]
            heapify(heap)
        else:
            heappush(heap, (when_ms, key))
        if when_ms < self.deadline_ms:
            self._broker.deadlines.at(when_ms + 1, self)

    def clear(self, key: bytes) -> bool:
        """The key lives for ever; whether it had a time."""
        return self.times.pop(key, None) is not None

    def check(self, key: bytes) -> None:
        """Takes the key away if its time is over."""
        when_ms = self.times.get(key)
        if when_ms is not None and when_ms < self._broker.now_ms:
            del self.times[key]
            self.expired_keys += 1
            self._expired(key)

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        heap, times = self._heap, self.times
        left = EXPIRED_MAX
        while heap and heap[0][0] < now_ms and left:
            when_ms, key = heappop(heap)
            if times.get(key) == when_ms:
                left -= 1
                self.check(key)
        if heap:
            self._broker.deadlines.at(heap[0][0] + 1, self)
