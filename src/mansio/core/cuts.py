"""Parts of what is ready in a queue, by number in the order of delivery: looked at, or taken out."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from mansio.core.queue import Queue
from mansio.core.run import Span


def view(queue: Queue, start: int, stop: int) -> list[Span]:
    """Messages [start, stop), which stay where they are, as spans of their own; looked for from the nearer end."""
    if start >= stop:
        return []
    found: list[Span] = []
    if start > queue.ready_count - stop:
        at = queue.ready_count
        for span in backwards(queue):
            at -= span.stop - span.start
            if at < stop:
                found.append(_within(span, start - at, stop - at))
            if at <= start:
                break
        found.reverse()
        return found
    at = 0
    for span in queue.spans():
        count = span.stop - span.start
        if at + count > start:
            found.append(_within(span, start - at, stop - at))
        at += count
        if at >= stop:
            break
    return found


def _within(span: Span, start: int, stop: int) -> Span:
    first, last = span.start, span.stop
    low, high = max(first + start, first), min(first + stop, last)
    return Span(span.run, low, high, span.base, span.redelivered, span.deliveries)


def backwards(queue: Queue) -> Iterator[Span]:
    """What is ready, the last one to be delivered first."""
    return chain.from_iterable(reversed(lane) for lane in _ascending(queue))


def _ascending(queue: Queue) -> Sequence[deque[Span]]:
    """Its lanes, the one that is delivered last first."""
    return (queue.ready,) if queue.levels is None else queue.levels.lanes


def take(queue: Queue, head: bool, n: int) -> list[Span]:
    """Takes the first `n` messages, or the last ones, in the order in which they were taken. There are as many."""
    taken: list[Span] = []
    while n > 0:
        span = queue.ready[0] if head else queue.last()
        count = min(n, span.stop - span.start)
        taken.append(queue.take_head(count) if head else queue.take_last(count))
        n -= count
    return taken


def cut(queue: Queue, numbers: Iterable[int]) -> list[Span]:
    """Takes these messages, whose numbers rise; what lies between them and the nearer end is looked at."""
    wanted = list(numbers)
    gone: list[Span] = []
    at = 0
    for lane in queue.lanes()[::-1]:
        size = queue.ready_count if queue.levels is None else _count(lane)
        mine = [number - at for number in wanted if at <= number < at + size]
        if mine:
            gone += _cut_lane(lane, size, mine)
        at += size
    queue.ready_count -= len(wanted)
    if queue.levels is not None:
        queue.ready = queue.levels.head()
    return gone


def _count(lane: deque[Span]) -> int:
    return sum([span.stop - span.start for span in lane])


def _cut_lane(lane: deque[Span], size: int, numbers: list[int]) -> list[Span]:
    """The same of one lane with so many messages."""
    gone: list[Span] = []
    moved: list[Span] = []
    if numbers[-1] < size - numbers[0]:
        at = 0
        while at <= numbers[-1]:
            span = lane.popleft()
            moved.append(span)
            at += span.stop - span.start
        lane.extendleft(reversed(_without(moved, numbers, gone)))
        return gone
    at = size
    while at > numbers[0]:
        span = lane.pop()
        moved.append(span)
        at -= span.stop - span.start
    moved.reverse()
    lane.extend(_without(moved, [number - at for number in numbers], gone))
    return gone


def _without(spans: list[Span], numbers: list[int], gone: list[Span]) -> list[Span]:
    """These spans but for some messages, which go to `gone`; those are numbered from the first one on."""
    kept: list[Span] = []
    at = i = 0
    for span in spans:
        low, high = at, at + span.stop - span.start
        while i < len(numbers) and numbers[i] < high:
            number = numbers[i]
            until = number
            while i < len(numbers) and numbers[i] == until and until < high:
                until += 1
                i += 1
            if number > low:
                kept.append(_within(span, low - at, number - at))
            gone.append(_within(span, number - at, until - at))
            low = until
        if low < high:
            kept.append(span if low == at else _within(span, low - at, high - at))
        at = high
    return kept
