"""What always holds of messages that are delayed or deferred: part of `check`."""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.delays import Delays
    from mansio.core.held import Held
    from mansio.core.queue import Queue
    from mansio.core.run import Run


def check_delays(broker: "Broker", live: "MutableMapping[Run, int]") -> None:
    """Adds the messages that are held to `live`, by run."""
    for vhost in broker.vhosts:
        delays = broker.delays(vhost)
        found: dict[Held, None] = {}
        for heap in (delays.near, delays.far):
            for i, (due_ms, id, held) in enumerate(heap):
                if i and heap[(i - 1) // 2] > heap[i]:
                    raise InvariantBroken(f"delayed messages of {vhost}: no heap at {i}")
                if not held.left:
                    raise InvariantBroken(f"an empty delayed run of {vhost} is kept")
                if held in found or held.near != (heap is delays.near):
                    raise InvariantBroken(f"a delayed run of {vhost} is in the wrong heap")
                found[held] = None
                if (due_ms, id) != held.key():
                    raise InvariantBroken(f"a delayed run of {vhost} would not come out in time")
        _check_sums(delays, found)
        for held in found:
            _check_held(held, delays)
            live[held.run] += held.left
        _check_alarm(broker, delays)


def _check_sums(delays: "Delays", found: "dict[Held, None]") -> None:
    count = sum(held.left for held in found)
    if count != delays.count:
        raise InvariantBroken(f"{delays.count} delayed messages are counted, there are {count}")
    loose = [held for held in found if held.loose]
    sizes = (sum(held.left for held in loose), sum(held.run.data_bytes for held in loose))
    if set(loose) != set(delays.loose) or sizes != (delays.loose_count, delays.loose_bytes):
        raise InvariantBroken(f"{delays.loose_count} delayed messages are loose, not {sizes[0]}")
    near_bytes = sum(held.run.data_bytes for _, _, held in delays.near)
    if near_bytes != delays.near_bytes:
        raise InvariantBroken(f"{delays.near_bytes} bytes are due soon, there are {near_bytes}")


def _check_held(held: "Held", delays: "Delays") -> None:
    run = held.run
    numbers = held.numbers()
    if len(set(numbers)) != len(numbers) or not 0 <= min(numbers) <= max(numbers) < run.count:
        raise InvariantBroken(f"a delayed run of {run.count} messages has others left")
    order = [(held.due_ms(i), held.id(i)) for i in numbers]
    if order != sorted(order):
        raise InvariantBroken("a delayed run is not in the order in which it falls due")
    if not 0 <= held.base <= delays.next_position - run.count:
        raise InvariantBroken(f"a delayed run at {held.base}, the next is {delays.next_position}")
    if run.held is not held or (run.places and run.places != ((delays.id, held.base),)):
        raise InvariantBroken("a delayed run does not know its place")


def _check_alarm(broker: "Broker", delays: "Delays") -> None:
    """Somebody looks at the next message in time, unless it is being read."""
    loading = broker.paging.loading
    if delays.reading is not None:
        if delays.reading not in loading._under_way:
            raise InvariantBroken("a delayed message that is due is waited for, and is not read")
        return
    nexts = [heap[0][0] for heap in (delays.near, delays.far) if heap]
    late = broker.now_ms + 1000
    if nexts and delays.deadline_ms > max(min(nexts), late):
        raise InvariantBroken("nobody looks after delayed messages")


def check_deferred(queue: "Queue", taken: "set[int]", live: "MutableMapping[Run, int]") -> None:
    """Adds what is deferred to `live`. `taken`: positions that are ready or in flight."""
    deferred = queue.deferred
    assert deferred is not None
    count = 0
    for span in deferred:
        places = range(span.base + span.start, span.base + span.stop)
        if not taken.isdisjoint(places):
            raise InvariantBroken(f"queue {queue.name}: a message is deferred and elsewhere, too")
        taken.update(places)
        count += len(places)
        live[span.run] += len(places)
    if count != deferred.count:
        raise InvariantBroken(f"queue {queue.name} counts {deferred.count} deferred, has {count}")
