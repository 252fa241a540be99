"""How messages move in the oracle: into queues, out of them, back, and on to where dead letters go.

Only the broker knows in which order it does what it does by itself, so that it is followed by its `events`. An event
has to be allowed when it is applied; what had to happen, and did not, is found at the end of a phase. While commands
are applied, events wait until one of these explains them; everything else is judged at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.sim.delaying import Store
from tests.sim.events import Back, Bounded, Died, Drop, Event, Fired, Gone, Mark, Put, Stored, Told
from tests.sim.letters import Cause, goes_round, make_letter, properties_of
from tests.sim.model import (
    COMMITTED,
    DISPATCH,
    LATE,
    NOBODY,
    REFUSED,
    RELEASE,
    RETURNED,
    Channel,
    Consumer,
    Delivery,
    Dying,
    Place,
    Spot,
    Violation,
)
from tests.sim.receipts import (
    ACKED,
    DEAD_LETTERED,
    DROPPED,
    EXPIRED,
    REJECTED,
    REPEATED,
    UNROUTED,
    Owed,
    Receipts,
    owed_of,
)
from tests.sim.repeats import Follower, id_of
from tests.sim.retries import Waiting, delay_range
from tests.sim.stream_events import Appended, Cut, Divided, Fed, Packed
from tests.sim.streaming import Streaming
from tests.sim.topology import QUARANTINE, Entry, Exchange, Queue
from tests.sim.wire import ID_BYTES, Message

NO_ROUTE, DUPLICATE = 312, 208
"""Why a message is returned."""
Link = tuple[Place, list[Place]]
"""A place in the log that is to be settled, and those that are to be filled, in one entry."""
First = tuple[list[Spot], list[Follower]]
"""Why a message is not taken: what has to be in the log of the first one with its id, and who shares its fate."""


@dataclass(slots=True, eq=False)
class Due:
    """A letter that has to come into these queues now."""

    message: Message
    targets: set[str] | None
    """None: chance decides."""
    place: Place | None
    """Where the log has the message that died."""
    rounds: bool = False
    """It does not go to queues that it has come from, so that chance may lead it nowhere."""
    exact: bool = False
    """Its header is known byte for byte."""
    unrouted: bool = False
    """Its publisher was told that no queue takes it."""

    def is_(self, header: bytes, body: bytes) -> bool:
        """Whether these are its properties and its body."""
        return self.message.body == body and properties_of(self.message.header) == properties_of(
            header
        )


class Moves(Receipts, Streaming):
    """The part of the model that is about messages in queues."""

    def __init__(self) -> None:
        super().__init__()
        self.events: deque[Event] = deque()
        """What nothing has explained yet."""
        self._pumping = self._looking = False
        self.recalled: set[Place] = set()
        """Where queues have what came from the memory of an exchange."""
        self.store = Store()
        self.dying: list[Dying] = []
        self.leaving: Consumer | None = None
        """A consumer that the broker is about to cancel."""
        self.links: list[Link] = []
        """What has to be in one entry of the log; taken by whoever reads that."""
        self._due: deque[Due] = deque()
        self._placed: dict[tuple[bytes, bytes, str], deque[tuple[int, int]]] = {}
        """Where the broker has put what clients publish, and the priority that it knows, by header, number, queue."""
        self._arrivals: dict[Queue, tuple[int, int]] = {}
        """By queue: its next position before the first arrival of this phase, and how many there were."""
        self._returned: dict[Queue, None] = {}

    def adopt(self, message: Message, header: bytes) -> Message:
        """The message with these header bytes: this one, or one that is known by them."""
        raise NotImplementedError

    # -- publishing

    def enqueue(
        self, channel: Channel, message: Message, queues: list[Queue], number: int
    ) -> list[Spot]:
        """Puts a message into its queues or returns it; what has to be in the log."""
        live = [queue for queue in queues if not queue.deleted]
        taken, firsts = self._admit(message, live)
        if all(queue.hidden for queue in taken):
            repeated = bool(live) and not taken
            if message.mandatory:
                code = DUPLICATE if repeated else NO_ROUTE
                channel.connection.returns.append((channel.number, message.number, code))
            if not repeated:
                self.go_nowhere(message)
        entries: dict[Queue, Entry] = {}
        own: list[Spot] = []
        asked = any(queue.levels for queue in queues)
        for queue in taken:
            position, priority = self._place_of(message, queue)
            if priority != message.priority and (priority or (asked and number != COMMITTED)):
                raise Violation(f"{message!r} came to queue {queue.name} as of {priority}")
            level = min(priority, queue.levels)
            if number == COMMITTED:  # it may have had more levels when it was published
                level = priority
            last = channel.last_put.get((queue, level), -1)
            if not self.cross:
                last = queue.last_put.get(level, -1)
            if position <= last:
                raise Violation(f"queue {queue.name}: {message!r} at {position} is out of order")
            channel.last_put[queue, level] = queue.last_put[level] = position
            entry = self._arrive(queue, message, position, channel, number, priority)
            entries[queue] = entry
            if entry.message.persistent and queue.logged:
                own.append((queue, entry))
        self._remember(message, entries, own)
        for _, followers in firsts:
            followers.append((channel, number))
        return [spot for needs, _ in firsts for spot in needs] + own

    def _admit(self, message: Message, queues: list[Queue]) -> tuple[list[Queue], list[First]]:
        """Those of the queues that take it, and why the others do not; who wants to know is told."""
        ident = id_of(message.headers)
        if ident is None or not queues:
            return queues, []
        seen = message.window and message.window.find(ident, self.now_ms)
        if seen:
            self.go_nowhere(message, REPEATED)
            return [], [(seen.needs, seen.followers)]
        taken: list[Queue] = []
        firsts: list[First] = []
        for queue in queues:
            first = self._find_first(queue, ident, message)
            if first is None:
                taken.append(queue)
            else:
                self.go_nowhere(message, REPEATED, queue)
                firsts.append(first)
        if firsts and all(queue.hidden for queue in taken):
            taken = []
        return taken, firsts

    def _find_first(self, queue: Queue, ident: str, message: Message) -> First | None:
        """The message with this id that a queue has had; None: it takes another one."""
        if queue.stream is not None and queue.stream.producers is not None:
            seen = queue.stream.producers.find(message.headers)
            return None if seen is None else (seen.needs, seen.followers)
        if queue.window is not None:
            seen = queue.window.find(ident, self.now_ms)
            return None if seen is None else (seen.needs, seen.followers)
        for entry in self._with_id(queue, ident) if queue.unique else ():
            return [(queue, entry)] * (entry.message.persistent and queue.logged), entry.followers
        return None

    def _with_id(self, queue: Queue, ident: str) -> Iterator[Entry]:
        return (each for each in self.entries(queue) if id_of(each.message.headers) == ident)

    def _remember(self, message: Message, entries: dict[Queue, Entry], spots: list[Spot]) -> None:
        """The message is in these queues: it must not come again where that counts."""
        if id_of(message.headers) is None or all(queue.hidden for queue in entries):
            return
        headers, persistent = message.headers, message.persistent
        for window in (message.window,) if message.window is not None else ():
            seen = window.remember(headers, persistent, spots, self.now_ms)
            for entry in entries.values():
                entry.seen += ((window, seen),)
        for queue, entry in entries.items():
            if queue.window is not None:
                needs = [spot for spot in spots if spot[0] is queue]
                seen = queue.window.remember(headers, persistent, needs, self.now_ms)
                entry.seen += ((queue.window, seen),)
            elif queue.stream is not None:
                self.count_produced(queue, entry, headers)

    def entries(self, queue: Queue) -> Iterator[Entry]:
        """All messages of a queue, wherever they are."""
        yield from queue.waiting()
        yield from (each.entry for each in self.dying if each.queue is queue)
        yield from (each.entry for each in self.deliveries(queue))

    def deliveries(self, queue: Queue) -> Iterator[Delivery]:
        """What was delivered from a queue and is not settled."""
        for connection in self.connections:
            for channel in connection.channels.values():
                held = list(channel.unacked.values())
                for deliveries, _ in channel.tx.settled if channel.tx is not None else ():
                    held += deliveries
                yield from (each for each in held if each.queue is queue)

    def recall(self, source: Exchange, queue: Queue) -> None:
        """The queue was bound to an exchange that remembers: it gets what that holds."""
        if source.history is not None:
            for entry in source.history.ready[-(source.history.length_max or 0) :]:
                position, priority = self._place_of(entry.message, queue)
                copy = self._arrive(queue, entry.message, position, NOBODY, 0, priority)
                copy.asks = False
                self.recalled.add(queue.place(position))

    def _place_of(self, message: Message, queue: Queue) -> tuple[int, int]:
        key = message.header, message.body[:ID_BYTES], queue.name
        positions = self._placed.get(key)
        if not positions:
            raise Violation(f"{message!r} did not come into queue {queue.name}")
        place = positions.popleft()
        if not positions:
            del self._placed[key]
        return place

    def _arrive(
        self,
        queue: Queue,
        message: Message,
        position: int,
        publisher: Channel,
        number: int,
        priority: int = 0,
    ) -> Entry:
        first, count = self._arrivals.get(queue, (queue.next_position, 0))
        self._arrivals[queue] = first, count + 1
        turn = self.turn + (self.phase == DISPATCH)
        message = self.stamped(message, queue, position)
        priority = 0 if queue.stream is not None else priority
        entry = queue.make_entry(message, position, turn, publisher, number, self.now_ms, priority)
        queue.append(entry)
        return entry

    # -- settling

    def accept(self, deliveries: Iterable[Delivery]) -> list[Spot]:
        """These are done with; what of it has to be in the log."""
        spots: list[Spot] = []
        for delivery in deliveries:
            self._credit(delivery)
            self._end_delivery(delivery, ACKED)
            if _is_logged(delivery):
                spots.append((delivery.queue, delivery.entry))
        return spots

    def reject(self, deliveries: Sequence[Delivery]) -> list[Spot]:
        """Nobody wants these; what of it has to be in the log by now."""
        tried = [each for each in deliveries if each.queue.retry is not None]
        for delivery in deliveries:
            if delivery in tried:
                continue
            self._credit(delivery)
            if delivery.queue.letters_to is None or delivery.queue.deleted:
                self._end_delivery(delivery, REJECTED)
                continue
            dying = Dying(delivery.entry, delivery.queue, "rejected", delivery.holder)
            self.dying.append(dying)
        self.requeue(tried, REFUSED)
        waiting = {each.entry for each in self.dying}
        for delivery in tried:
            waiting.update(each.entry for each in delivery.queue.deferred)
        return [
            (each.queue, each.entry)
            for each in deliveries
            if _is_logged(each) and each.entry not in waiting
        ]

    def requeue(self, deliveries: Sequence[Delivery], why: str = RETURNED) -> None:
        """These go back to their places, now or later, if they may; those of a queue that is gone are gone too."""
        for delivery in deliveries:
            self._credit(delivery)
            queue, entry = delivery.queue, delivery.entry
            if queue.deleted or queue.stream is not None:
                continue
            if queue.retry is not None and why != RETURNED:
                self._put_off(delivery, queue.retry)
                continue
            if queue.counts and why != LATE:  # a task that takes long is no failure
                if 0 <= queue.limit <= entry.deliveries:
                    self.dying.append(Dying(entry, queue, "delivery_limit", delivery.holder))
                    continue
                entry.deliveries += 1
                entry.due = 0, 0
            elif not queue.counts and queue.retry is None:
                entry.returned += entry.asks
            queue.put_back(entry)
            self._returned[queue] = None
        self.pump()

    def _put_off(self, delivery: Delivery, rule: dict[str, Any]) -> None:
        queue, entry = delivery.queue, delivery.entry
        attempt = entry.deliveries + 1
        delays = delay_range(rule, attempt)
        if delays is None or attempt > queue.limit >= 0:
            self.dying.append(Dying(entry, queue, "delivery_limit", delivery.holder))
            return
        entry.deliveries = attempt
        entry.due = self.now_ms + delays[0], self.now_ms + delays[1]
        queue.deferred.append(Waiting(entry, *entry.due))

    def _end_delivery(self, delivery: Delivery, outcome: str) -> None:
        """With a queue that is gone that was told."""
        if not delivery.queue.deleted:
            self.end(delivery.queue, delivery.entry, outcome, delivery.holder)

    def _credit(self, delivery: Delivery) -> None:
        delivery.queue.in_flight -= 1
        if delivery.consumer is not None:
            delivery.consumer.unsettled -= 1
            delivery.consumer.channel.unsettled -= 1

    # -- what the broker does by itself

    def on_event(self, event: Event) -> None:
        """The broker has done this."""
        if isinstance(event, Put) and not event.own:
            for name, base in event.places:
                for position, (header, body) in enumerate(event.contents, base):
                    key = header, body[:ID_BYTES], name
                    self._placed.setdefault(key, deque()).append((position, event.priority))
        if isinstance(event, Stored):
            for position, (header, body) in enumerate(event.contents, event.first):
                self.store.on_stored((header, body[:ID_BYTES]), position)
        elif isinstance(event, Fed):
            self.feed(event)
        elif isinstance(event, Packed):
            self.pack(event)
        elif isinstance(event, Divided):
            self.divided.setdefault(event.group, deque()).append(event)
        elif self.phase != DISPATCH and not self._is_heard(event):
            self.events.append(event)
        elif not self._apply_event(event):
            raise Violation(f"{event} must not happen")

    def _is_heard(self, event: Event) -> bool:
        """Whether it is what the broker does when something has become durable: what channels give back that are
        closed in the same phase comes behind that."""
        return isinstance(event, Cut) and self.phase == RELEASE

    def pump(self, looking: bool = False) -> None:
        """Applies what is explained by now; `looking`: also what the broker does when it looks into a queue."""
        self._looking = looking or self._looking
        if self._pumping:  # it is being applied what explains the next one
            return
        self._pumping = True
        while self.events and self._apply_event(self.events[0]):
            self.events.popleft()
        self._pumping = self._looking = False

    def answered(self, what: str, queue: Queue) -> None:
        """The broker answers what is in a queue: it has done now what it does before that."""
        self.pump(looking=True)
        if not self.events or self.events[0] != Mark(what, queue.name):
            found = self.events[0] if self.events else "nothing"
            raise Violation(f"{what} of {queue.name}: before it came {found}")
        self.events.popleft()

    def _apply_event(self, event: Event) -> bool:
        if isinstance(event, Put):
            return not event.own or self._take_letters(event)
        if isinstance(event, Drop):
            return self._drop(event)
        if isinstance(event, Gone):
            return self._expire(event)
        if isinstance(event, Back):
            return self._come_back(event)
        if isinstance(event, Fired):
            return self._fire(event)
        if isinstance(event, Told):
            return self._take_receipt(event)
        if isinstance(event, Bounded):
            return self._accept_all(event)
        if isinstance(event, Mark) and event.what == "look":
            return self._looking or self.phase == DISPATCH
        if isinstance(event, Appended):
            return self.append_run(event)
        if isinstance(event, Cut):
            return self.cut_stream(event)
        return isinstance(event, Died) and self._die(event)

    def _fire(self, event: Fired) -> bool:
        """Messages are published that were delayed."""
        for header, body in event.contents:
            held = self.store.fire((header, body[:ID_BYTES]), self.now_ms)
            message = held.message
            place = self.store.place(held) if message.persistent else None
            if message.exchange not in self.topology.exchanges:
                self.go_nowhere(message, source=place)
                continue
            self._send(Due(message, None, place, exact=True), self.topology.route(message, None))
        return True

    def _send(self, due: Due, queues: list[Queue] | None) -> None:
        """A letter has to come into these queues now; None: chance decides."""
        if queues is None:
            self._due.append(due)
            return
        if due.rounds:
            queues = [each for each in queues if not goes_round(due.message.deaths, each.name)]
        due.targets, due.rounds = {queue.name for queue in queues}, False
        if all(queue.hidden for queue in queues):
            self.go_nowhere(due.message, source=due.place)
        if queues:
            self._due.append(due)

    def _accept_all(self, event: Bounded) -> bool:
        """What a queue has now that refuses has come before its bound was looked at, and was not too much."""
        queue = self.topology.queues.get(event.queue)
        if queue is not None and queue.rejects and self.phase == DISPATCH:
            for entry in queue.ready:
                entry.turn = min(entry.turn, self.turn)
        return True

    def _take_receipt(self, event: Told) -> bool:
        """The broker tells of the end of a message."""
        queue = self.topology.queues.get(event.queue)
        header, body = event.content
        if queue is None or body:
            return False
        owed = self.take_owed(queue.name, header) or self._find_unrouted(queue.name, header)
        if owed is None:
            return False
        self.flush(queue)
        if event.position <= queue.last_letter:
            raise Violation(f"queue {queue.name}: {owed} at {event.position} is out of order")
        queue.last_letter = event.position
        receipt = self.adopt(owed.receipt(header), header)
        self._arrive(queue, receipt, event.position, NOBODY, 0)
        if owed.source is not None and receipt.persistent and queue.logged:
            self.links.append((owed.source, [queue.place(event.position)]))
        return True

    def _find_unrouted(self, target: str, header: bytes) -> Owed | None:
        """Chance has led a letter nowhere."""
        for due in self._due:
            owed = owed_of(due.message, due.place, UNROUTED)
            if due.targets is None and not due.unrouted and owed and owed.is_(target, header):
                due.unrouted = True
                return owed
        return None

    def _come_back(self, event: Back) -> bool:
        """Messages are ready again that were deferred."""
        queue = self.topology.queues.get(event.queue)
        if queue is None:
            return False
        self.flush(queue)
        waiting = {each.entry.position: each for each in queue.deferred}
        for first, count in event.places:
            for position in range(first, first + count):
                each = waiting.get(position)
                if each is None or each.first_ms > self.now_ms:
                    return False
                queue.deferred.remove(each)
                queue.put_back(each.entry)
        self._returned[queue] = None
        return True

    def _expire(self, event: Gone) -> bool:
        """A queue goes that nobody has used for as long as it allows; or because its last consumer did."""
        queue = self.topology.queues.get(event.queue)
        if queue is None:
            return True
        if queue.auto_delete and self.leaving is not None and queue.consumers == [self.leaving]:
            self.cancel(self.leaving)
        elif queue.auto_delete and [each for each in queue.consumers if self._is_due(each)]:
            self.cancel(queue.consumers[0])
        elif queue.consumers or not self._is_overdue(queue):
            return False
        else:
            self.drop_queue(queue)
        return True

    def _is_due(self, consumer: Consumer) -> bool:
        """Whether it is the last one, and goes by itself."""
        last = len(consumer.queue.consumers) == 1
        return last and 0 < consumer.waits_until_ms <= self.now_ms

    def _is_overdue(self, queue: Queue) -> bool:
        return queue.lease_ms is not None and queue.used_ms + queue.lease_ms <= self.now_ms

    def drop_queue(self, queue: Queue) -> int:
        """Deletes a queue; how many ready messages it had."""
        raise NotImplementedError

    def cancel(self, consumer: Consumer) -> None:
        """Ends a subscription, and an auto-delete queue with its last one."""
        raise NotImplementedError

    def _drop(self, event: Drop) -> bool:
        """False if it may not happen now, or not all of it; what has happened is taken off the event."""
        queue = self.topology.find(event.queue)
        if queue is None:
            return False
        self.flush(queue)
        dropped: list[Entry] = []
        while event.count and self._may_drop(queue, event):
            newest = event.reason == "refused"
            entry = queue.newest() if newest else queue.ready[0]
            queue.remove(entry)
            event.first += not newest
            event.count -= 1
            dropped.append(entry)
        for entry in sorted(dropped):
            self._dropped(queue, entry, event.reason)
        queue.enforced = queue.enforced or (self.phase == DISPATCH and event.late)
        return not event.count

    def _may_drop(self, queue: Queue, event: Drop) -> bool:
        if not queue.ready:
            return False
        if event.reason == "refused":
            entry = queue.newest()
            fresh = entry.turn >= self.turn and entry.position == event.first + event.count - 1
            return fresh and not entry.accepted and queue.rejects and queue.too_much
        if queue.ready[0].position != event.first:
            return False
        if event.reason == "maxlen":
            return queue.too_much and not queue.rejects
        return event.reason == "expired" and queue.head_expired(self.now_ms)

    def _dropped(self, queue: Queue, entry: Entry, reason: str) -> None:
        if reason == "refused":
            self._refused(queue, entry)
            if not queue.letters_refused:
                self.end(queue, entry, DROPPED)
                return
            reason = "maxlen"
        if queue.letters_to is not None:
            self.dying.append(Dying(entry, queue, reason))
        else:
            self.end(queue, entry, EXPIRED if reason == "expired" else DROPPED)

    def _refused(self, queue: Queue, entry: Entry) -> None:
        """A full queue has not taken a message; nor has it taken those that were not taken because of this one."""
        ident = id_of(entry.message.headers) or ""
        refused = [(entry.publisher, entry.number)]
        for window, seen in entry.seen:
            if window.ids.get(ident) is seen:  # else it has come again, when its time was over
                del window.ids[ident]
            refused += seen.followers
        other = next(self._with_id(queue, ident), None) if entry.followers else None
        if other is not None:
            other.followers += entry.followers
        else:
            refused += entry.followers
        for channel, number in refused:
            if channel.connection.desk is not None and channel is entry.publisher:
                channel.connection.desk.refused(entry)
            pending = channel.pending.get(number)
            if pending is not None:
                pending.rejected = True
            if number == COMMITTED:
                for commit in channel.commits:
                    commit.refused = commit.refused or not commit.sealed

    def _die(self, event: Died) -> bool:
        found = None
        for i, each in enumerate(self.dying):
            message = each.entry.message
            same = event.content[1] == message.body
            same = same and properties_of(event.content[0]) == properties_of(message.header)
            if same and (event.queue, event.reason) == (each.queue.name, each.reason):
                found = self.dying.pop(i)
                earlier = [other for other in self.dying[:i] if other.queue is each.queue]
                if earlier and not self.lags:
                    raise Violation(f"{each} is written before {earlier[0]}")
                break
        if found is not None:
            self._write_letter(found)
        return found is not None

    def _write_letter(self, dying: Dying) -> None:
        queue, entry = dying.queue, dying.entry
        exchange, key = queue.letters_to, queue.letter_key
        quarantined = exchange is None
        if quarantined:
            exchange, key = "", QUARANTINE
            if QUARANTINE not in self.topology.queues:
                made = self.topology.add_queue(QUARANTINE, True, False, None, {})
                made.used_ms = self.now_ms
        assert exchange is not None
        cause = Cause(queue.name, dying.reason, self.now_ms // 1000, exchange, key)
        letter = make_letter(entry.message, cause)
        if not entry.asks:
            letter.asks_receipt = None
        self.end(queue, entry, DEAD_LETTERED, dying.holder)
        logged = entry.message.persistent and queue.logged
        place = queue.place(entry.position) if logged else None
        if exchange not in self.topology.exchanges:
            self.go_nowhere(letter, source=place)
            return
        rounds = not quarantined and dying.reason != "rejected"
        self._send(Due(letter, None, place, rounds), self.topology.route(letter, None))

    def _take_letters(self, event: Put) -> bool:
        names = {name for name, _ in event.places}
        for i, (header, body) in enumerate(event.contents):
            while self._due and self._due[0].targets is None and not self._due[0].is_(header, body):
                self._lead_nowhere(self._due.popleft())
            if not self._due:
                return False
            due = self._due.popleft()
            expected = due.message
            if body != expected.body or event.routes[i] != (expected.exchange, expected.key):
                raise Violation(f"{expected!r} went to {event.routes[i]} as {body[:8]!r}")
            if properties_of(header) != properties_of(expected.header):
                raise Violation(
                    f"{expected!r} has {properties_of(header)}, not {properties_of(expected.header)}"
                )
            if due.exact and header != expected.header:
                raise Violation(f"{expected!r} was delayed, and has other bytes now")
            message = self.adopt(expected, header)
            if not self._may_go(due, message, names):
                raise Violation(f"{expected!r} went to {names}, not {due.targets}")
            if event.priority != message.priority:
                raise Violation(f"{message!r} went there as of priority {event.priority}")
            self._put_letter(message, event.places, i, due.place)
        return True

    def _lead_nowhere(self, due: Due) -> None:
        """Chance was to decide, and the broker has not sent it anywhere, or only where it is not seen."""
        owed = owed_of(due.message, due.place, UNROUTED)
        if owed is not None and not due.unrouted and self.gets_receipts(owed.target):
            raise Violation(f"nobody is told {owed}")

    def _may_go(self, due: Due, message: Message, names: set[str]) -> bool:
        if due.targets is not None:
            return due.targets == names
        found = [self.topology.find(name) for name in names]
        if all(queue is not None and queue.hidden for queue in found):
            self._lead_nowhere(due)
        elif due.unrouted:
            return False
        if due.rounds:
            return not any(goes_round(message.deaths, name) for name in names)
        return self.topology.route(message, names) is not None

    def _put_letter(
        self,
        message: Message,
        places: list[tuple[str, int]],
        i: int,
        source: tuple[str, int, int] | None,
    ) -> None:
        filled = []
        for name, base in places:
            queue = self.topology.find(name)
            assert queue is not None
            self.flush(queue)
            if base + i <= queue.last_letter:
                raise Violation(f"queue {name}: {message!r} at {base + i} is out of order")
            queue.last_letter = base + i
            self._arrive(queue, message, base + i, NOBODY, 0, message.priority)
            if message.persistent and queue.logged:
                filled.append(queue.place(base + i))
        if source is not None and filled:
            self.links.append((source, filled))

    # -- what had to happen

    def flush(self, queue: Queue) -> None:
        """What was delivered from a queue in this turn were its first messages."""
        taken, queue.taken = sorted(queue.taken), []
        head = queue.ready[: len(taken)]
        if taken != head:
            late = next(entry for entry in head if entry not in taken)
            raise Violation(
                f"queue {queue.name}: position {taken[-1].position} was delivered, "
                f"{late.position} ({late.message!r}) was not"
            )
        del queue.ready[: len(taken)]

    def inquire(self, queue: Queue) -> None:
        """Somebody asks what is in the queue."""
        self.answered("inquire", queue)
        if not queue.consumers:
            told = any(each.publisher is NOBODY and each.turn == self.turn for each in queue.ready)
            late = told and not queue.rejects  # receipts of what was dropped came here
            if not late and not self._may_lag(queue) and self._is_over(queue):
                raise Violation(f"queue {queue.name} has too much when it is asked")
        self.looked_over(queue)

    def looked_over(self, queue: Queue) -> None:
        """Somebody asks what is in the queue: if nobody consumes from it, all that is there now is there to stay."""
        if not queue.consumers:
            queue.fresh = 0
            for entry in queue.ready:
                entry.accepted = True

    def end_moves(self) -> None:
        """A phase has ended."""
        self.pump(looking=True)
        while self._due and self._due[0].targets is None:
            self._lead_nowhere(self._due.popleft())
        self.check_told()
        for what in (self.events, self._placed, self._due, self.store.placed):
            if what:
                raise Violation(f"nothing explains {what}")
        for queue, (first, count) in self._arrivals.items():
            if queue.next_position != first + count:
                raise Violation(
                    f"queue {queue.name}: {count} messages from {first} on, next is {queue.next_position}"
                )
        self._arrivals.clear()
        self.check_divided()
        self.end_streams()
        if self.dying and not self.lags:
            raise Violation(f"{self.dying} wait for nothing")
        for queue in self._returned:
            if not queue.deleted and not queue.rejects and not self._may_lag(queue):
                if queue.bytes_max is None and queue.excess() > queue.fresh:
                    raise Violation(f"queue {queue.name} got back more than it may have")
        self._returned.clear()

    def forget_moves(self) -> None:
        """The broker is gone, with what it was about to do."""
        self.events.clear()
        self.owed.clear()
        self.dying.clear()
        self.links.clear()
        self._due.clear()
        self._placed.clear()
        self._arrivals.clear()
        self._returned.clear()

    def enforce_bounds(self, queue: Queue) -> None:
        """A turn has ended: nothing is left that is too much, but for what came late."""
        late = sum(entry.turn > self.turn for entry in queue.ready)
        if not late and not self._may_lag(queue) and self._is_over(queue):
            raise Violation(f"queue {queue.name} has too much at the end of a turn")
        queue.fresh = late
        queue.enforced = False

    def _is_over(self, queue: Queue) -> bool:
        if not queue.too_much:
            return False
        newest = queue.newest()
        accepted = not queue.fresh or newest.turn != self.turn or newest.accepted
        return not (queue.rejects and accepted)

    def _may_lag(self, queue: Queue) -> bool:
        return self.lags and (queue.letters_to is not None or queue.unmeasured)

    def check_idle(self) -> None:
        """The broker has nothing left to do, and nothing is due."""
        self.store.check_idle(self.now_ms)
        if self.dying:
            raise Violation(f"{self.dying} are forgotten")
        self.check_streams_idle()
        for queue in self.topology.all_queues():
            if queue.head_expired(self.now_ms):
                raise Violation(f"queue {queue.name}: {queue.ready[0]} has expired and is there")
            if queue.too_much and not queue.rejects:
                raise Violation(f"queue {queue.name} has too much and nothing happens")
            for each in queue.deferred:
                if each.last_ms <= self.now_ms:
                    raise Violation(f"queue {queue.name}: {each} is not back")
            if not queue.consumers and self._is_overdue(queue):
                raise Violation(f"queue {queue.name} should be gone by now")


def _is_logged(delivery: Delivery) -> bool:
    queue = delivery.queue
    if queue.stream is not None:
        return False
    return delivery.entry.message.persistent and queue.logged and not queue.deleted
