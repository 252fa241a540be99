"""The delayed messages of one virtual host: held back before they are routed, and routed when they are due.

    hold ──► far ──due soon──► near ──due──► routed by the bindings that there are now ──► queues
              │    (read, if it is paged out)      └► no exchange, or no queue: dropped
              └──cancel──► gone

Both are heaps of runs by their next message. What is not due soon need not be in memory: its bytes are paged out, and
read again shortly before. What falls due leaves the store and enters its queues in one entry of the log.

Messages that come one by one, or with different delays, would make runs that cost more than they hold, and of which
each would be needed again and again. So they are *loose* first, and packed in the order in which they fall due
(`delay_packing.py`) when there are many.
"""

from array import array
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from mansio.core.deadlines import NEVER_MS
from mansio.core.delay_packing import LOOSE_BYTES_MAX, LOOSE_MAX, is_loose, pack
from mansio.core.held import Delayed, Held, Key
from mansio.core.limits import ROUTES_MAX
from mansio.core.paging import Pages
from mansio.core.records import encode_topology
from mansio.core.routing import Route
from mansio.core.run import Run

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.session import Channel

FIRED_MAX: Final = 5000
"""Messages that come due in one turn; to route them takes some 10 ms. The others follow in the next turn."""
FIRED_BYTES_MAX: Final = 4 << 20
AHEAD_MS: Final = 2000
"""How long before they are due messages that are paged out are read."""
NEAR_BYTES_MAX: Final = 24 << 20
"""What is read ahead at most. A million messages in packed runs that are due within seconds take 12 MiB at a time."""
RESIDENT_BYTES_MAX: Final = 32 << 20
"""What stays in memory of delayed messages, if messages may be paged out."""
ROOM_RETRY_MS: Final = 100
"""While the log has no room for what is due, it is tried again after this time."""

_LAST: Final = 1 << 64


class Delays:
    """A virtual host's store. `id` names it in the log like a queue; 0 until it is needed."""

    def __init__(self, broker: "Broker", vhost: str) -> None:
        self.id = 0
        self.vhost = vhost
        self.next_position = 0
        self.count = 0
        self.deadline_ms = NEVER_MS
        self.far: list[tuple[int, int, Held]] = []
        self.near: list[tuple[int, int, Held]] = []
        self.near_bytes = 0
        self.loose: dict[Held, None] = {}
        self.loose_count = 0
        self.loose_bytes = 0
        self.reading: Run | None = None
        """The next one that is due, while it is read; what is due behind it waits."""
        budget_bytes = broker.paging.budget_bytes
        self._pages = Pages(min(RESIDENT_BYTES_MAX, budget_bytes // 4))
        self._loose_pages = Pages()
        self._near_max = min(NEAR_BYTES_MAX, budget_bytes * 3 // 16)
        self._broker = broker
        self._routes: dict[tuple[str, str], Route] = {}

    def __iter__(self) -> Iterator[Delayed]:
        """What is held, in no order."""
        for _, _, held in (*self.near, *self.far):
            size = held.run.bytes_each()
            for i in held.numbers():
                route = held.route(i)
                if held.run.data:
                    start, stop = held.run.bounds(i)
                    size = stop - start
                yield Delayed(held.id(i), route.exchange, route.routing_key, held.due_ms(i), size)

    # -- in

    def route(self, exchange: str, key: str) -> Route:
        """The route of messages that are held: they have no publish method frame, and any channel's number."""
        route = self._routes.get((exchange, key))
        if route is None:
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            route = self._routes[exchange, key] = Route(exchange, key, ())
            route.frame_max = self._broker.letters.frame_max
        return route

    def hold(self, run: Run, channel: "Channel | None" = None) -> None:
        """Takes a run whose `held` says how long; `channel`: who has published it."""
        held = run.held
        assert held is not None
        broker = self._broker
        broker.journal.begin(run.data_bytes)  # it, and what remembers its id, are in one entry
        if self._admit(run, channel):
            self._hold(held)
        broker.journal.end()
        if channel is not None and broker.journal.behind:
            channel.session.pressing = True

    def _admit(self, run: Run, channel: "Channel | None") -> bool:
        """Whether it is no duplicate."""
        if run.marks is None:
            return True
        taken = channel is None or self._broker.deduplication.admit_delayed(run, channel)
        run.marks = None  # they are found again in the message when it is due
        return taken

    def _hold(self, held: Held) -> None:
        run, broker = held.run, self._broker
        if not self.id:
            self.id = broker.definitions.take_id()
            about = {"do": "keep delays", "vhost": self.vhost, "id": self.id}
            broker.journal.write(encode_topology(about))
        run.arrived_ms = broker.now_ms
        held.start(self.next_position, broker.now_ms)
        broker.counts.delayed += run.count
        held.loose = is_loose(held)
        self.enter(held)
        if held.loose:
            self.loose[held] = None
            self.loose_count += run.count
            self.loose_bytes += run.data_bytes
            if self.loose_count >= LOOSE_MAX or self.loose_bytes >= LOOSE_BYTES_MAX:
                broker.deadlines.at(broker.now_ms, self)

    def enter(self, held: Held) -> None:
        """A run takes the next places of the store."""
        run, broker = held.run, self._broker
        run.held = held
        held.base = self.next_position
        self.next_position += run.count
        run.live = run.count
        if run.persistent:
            run.places = ((self.id, held.base),)
            broker.journal.publish(run)
        broker.settling.count(run)
        if broker.paging.budget_bytes:
            broker.paging.arrived_at(run, self._loose_pages if held.loose else self._pages)
        self._add(held)

    def take_back(self, run: Run, numbers: Sequence[int]) -> None:
        """After a restart: these messages of a run are still there."""
        held = run.held
        assert held is not None
        held.keep(numbers)
        run.live += len(numbers)
        if self._broker.paging.budget_bytes:
            run.home = self._pages
        self._add(held)

    def _add(self, held: Held) -> None:
        self.count += held.left
        heappush(self.far, (*held.key(), held))
        self._sleep()

    # -- out

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        wait_ms = self._fire(now_ms) if self.reading is None else 0
        if self.loose_count >= LOOSE_MAX or self.loose_bytes >= LOOSE_BYTES_MAX:
            pack(self, self._broker)
        self._look_ahead(now_ms)
        self._sleep(wait_ms)

    def _sleep(self, wait_ms: int = 0) -> None:
        """Asks to be called when the next message is due, or has to be read; not before `wait_ms` from now."""
        when_ms = NEVER_MS
        if self.near and self.reading is None:
            when_ms = self.near[0][0]
        if self.far:
            far_ms = self.far[0][0]
            if self.near_bytes < self._near_max:
                far_ms -= AHEAD_MS
            if self.reading is None or far_ms < self.far[0][0]:
                when_ms = min(when_ms, far_ms)
        if when_ms < NEVER_MS:
            broker = self._broker
            broker.deadlines.at(max(when_ms, broker.now_ms + wait_ms), self)

    def _look_ahead(self, now_ms: int) -> None:
        """Has messages read that are due soon."""
        far = self.far
        while far and far[0][0] - AHEAD_MS <= now_ms and self.near_bytes < self._near_max:
            self._approach()

    def _approach(self) -> None:
        """The first run of the far ones is near now."""
        entry = heappop(self.far)
        held = entry[2]
        held.near = True
        self.near_bytes += held.run.data_bytes
        heappush(self.near, entry)
        self._broker.paging.need(held.run)

    def _fire(self, now_ms: int) -> int:
        """Takes what is due out, as much as one turn may. Answers after how many ms to go on, at least."""
        near, far = self.near, self.far
        journal = self._broker.journal
        batch: list[tuple[Held, Sequence[int]]] = []
        count = size = wait_ms = 0
        room = journal.movable_bytes()
        while count < FIRED_MAX and size < FIRED_BYTES_MAX:
            if far and (not near or far[0] < near[0]):
                self._approach()
            if not near or near[0][0] > now_ms:
                break
            held = near[0][2]
            run = held.run
            if not run.data:
                if not batch:
                    self._read(run)
                break
            each = run.bytes_each()
            most = min(FIRED_MAX - count, max((FIRED_BYTES_MAX - size) // each, 1))
            if run.persistent:
                most = min(most, (room - size) // each)
            if most <= 0:
                wait_ms = ROOM_RETRY_MS
                break
            heappop(near)
            numbers = held.take(self._until(now_ms), most)
            batch.append((held, numbers))
            count += len(numbers)
            size += len(numbers) * each
            self._put_back(held, now_ms)
        if batch:
            journal.begin(size)
            self._forward(batch)
            self._leave_all(batch)
            journal.end()
            journal.moved(size)
            self._broker.counts.fired += count
        return wait_ms

    def _put_back(self, held: Held, now_ms: int) -> None:
        """A near run that was taken out of its heap goes where its next message belongs."""
        if held.left:
            key = held.key()
            if key[0] <= now_ms + AHEAD_MS:
                heappush(self.near, (*key, held))
                return
            heappush(self.far, (*key, held))
        held.near = False
        self.near_bytes -= held.run.data_bytes

    def _until(self, now_ms: int) -> Key:
        """What comes before this may leave: nothing else is earlier."""
        until = (now_ms, _LAST)
        for heap in (self.near, self.far):
            if heap and heap[0][:2] < until:
                until = heap[0][:2]
        return until

    def _forward(self, batch: list[tuple[Held, Sequence[int]]]) -> None:
        """Publishes messages to their exchanges."""
        broker = self._broker
        forwarding = broker.forwarding
        exchanges = broker.vhosts[self.vhost].exchanges
        to: tuple[str, bool] | None = None
        missing: dict[str, int] = {}
        for held, numbers in batch:
            run = held.run
            for i in numbers:
                route = run.route(i)
                if to != (route.exchange, run.persistent):
                    to = route.exchange, run.persistent
                    forwarding.end()
                    forwarding.begin(self.vhost, *to)
                forwarding.send(
                    run, i
                )  # if there is no exchange, whoever wants to know hears of it
                if route.exchange not in exchanges:
                    missing[route.exchange] = missing.get(route.exchange, 0) + 1
        forwarding.end()
        for exchange, count in missing.items():
            broker.counts.dropped += count
            broker.notices.append(
                f"{count} delayed messages for exchange '{exchange}' in vhost '{self.vhost}' were due and are"
                " dropped: it is gone"
            )

    def _leave_all(self, batch: list[tuple[Held, Sequence[int]]]) -> None:
        """Messages that were taken out, run by run: most follow each other there."""
        by_run: dict[Held, list[int]] = {}
        for held, numbers in batch:
            by_run.setdefault(held, []).extend(numbers)
        for held, all_numbers in by_run.items():
            self.leave(held, all_numbers)

    def leave(self, held: Held, numbers: Sequence[int]) -> None:
        """Messages that were taken out of their run are not in the store any more."""
        run = held.run
        self.count -= len(numbers)
        ranges = held.ranges(numbers) if run.places else []
        self._broker.settling.left(run, self.id, len(numbers), ranges)
        if held.loose:
            self.loose_count -= len(numbers)
            if not run.live:
                self._tie(held)
        if not run.live:
            run.held = None  # they would keep each other alive

    def _tie(self, held: Held) -> None:
        """It is not loose any more."""
        held.loose = False
        del self.loose[held]
        self.loose_bytes -= held.run.data_bytes

    def take_loose(self) -> list[Held]:
        """Empties what is loose."""
        loose, self.loose = list(self.loose), {}
        for held in loose:
            held.loose = False
        self.loose_count = self.loose_bytes = 0
        return loose

    # -- what is paged out

    def _read(self, run: Run) -> None:
        """The next messages have to be read first."""
        self.reading = run
        self._broker.paging.loading.call(run, self._loaded)

    def _loaded(self, run: Run) -> None:
        """The bytes of a run are there, or cannot be read, ever, or nobody needs them any more."""
        if self.reading is run:
            self.reading = None
        held = run.held
        broker = self._broker
        lost = run in broker.paging.loading.unreadable
        if lost and held is not None and held.left:
            broker.notices.append(
                f"{held.left} delayed messages in vhost '{self.vhost}' cannot be read, and are dropped: the log is"
                " damaged there"
            )
            broker.counts.dropped += held.left
            self.leave(held, held.empty())
            self.prune()
        self._sleep()

    # -- upkeep

    def cancel(self, id: int) -> bool:
        """The message with this id is not to be published; whether it was still there."""
        for _, _, held in (*self.near, *self.far):
            i = held.find(id)
            if i < 0:
                continue
            held.drop(i)
            self._broker.counts.cancelled += 1
            self.leave(held, array("I", (i,)))
            self.prune()
            return True
        return False

    def drop_all(self) -> None:
        """Nothing is to be published any more: the virtual host goes."""
        for _, _, held in (*self.near, *self.far):
            self.leave(held, held.empty())
        self.prune()
        self.deadline_ms = NEVER_MS

    def prune(self) -> None:
        """Puts the heaps right again after runs have changed."""
        self.near_bytes = 0
        for heap in (self.near, self.far):
            heap[:] = [(*held.key(), held) for _, _, held in heap if held.left]
            heapify(heap)
        for _, _, held in self.near:
            self.near_bytes += held.run.data_bytes
