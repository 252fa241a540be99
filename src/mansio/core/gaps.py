"""Which positions are not there any more, between others that are: intervals in two sorted lists."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Gaps:
    """Intervals [start, stop) that do not touch each other. `count`: positions in all of them."""

    __slots__ = ("count", "starts", "stops")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        self.count = 0

    def __bool__(self) -> bool:
        return bool(self.starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts, self.stops, strict=True)

    def add(self, start: int, stop: int) -> None:
        """These positions are gone; some of them may have been before."""
        low = bisect_left(self.stops, start)
        high = bisect_right(self.starts, stop)
        if low < high:
            start = min(start, self.starts[low])
            stop = max(stop, self.stops[high - 1])
            for i in range(low, high):
                self.count -= self.stops[i] - self.starts[i]
        self.starts[low:high] = [start]
        self.stops[low:high] = [stop]
        self.count += stop - start

    def skip(self, position: int) -> int:
        """The first position from this one on that is there."""
        i = bisect_right(self.starts, position) - 1
        return max(position, self.stops[i]) if i >= 0 else position

    def next_start(self, position: int) -> int:
        """Where the first interval behind this position begins; far away where there is none."""
        i = bisect_right(self.starts, position)
        return self.starts[i] if i < len(self.starts) else 1 << 63

    def drop_below(self, position: int) -> None:
        """Forgets what is before this position, which is in no interval."""
        n = bisect_right(self.stops, position)
        for i in range(n):
            self.count -= self.stops[i] - self.starts[i]
        del self.starts[:n]
        del self.stops[:n]

    def within(self, start: int, stop: int) -> int:
        """How many of these positions are gone."""
        count = 0
        i = bisect_right(self.stops, start)
        while i < len(self.starts) and self.starts[i] < stop:
            count += min(self.stops[i], stop) - max(self.starts[i], start)
            i += 1
        return count

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """What is there of these positions, as intervals."""
        at = start
        i = bisect_right(self.stops, start)
        while i < len(self.starts) and self.starts[i] < stop:
            if self.starts[i] > at:
                yield at, self.starts[i]
            at = max(at, self.stops[i])
            i += 1
        if at < stop:
            yield at, stop
