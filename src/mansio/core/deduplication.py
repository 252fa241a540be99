"""Messages that come again: queues and exchanges with `x-message-deduplication` take one of those with the same id.

    a queue                    `Present`     until the one that it has is settled
    a queue with x-cache-ttl   `Window`   until so much time has passed since that one came
    an exchange                `Window`   the same, or while its id is among the last ones that are remembered
    a stream                   `Producers`  for ever: by the number that its producer gave it, see producers.py

Only what clients publish can be a duplicate. What the broker moves by itself, dead letters above all, is held but never
refused: it would be lost. Nor is an id remembered of a message that led to no queue, or that a full queue refused: its
publisher will try again.

What is `Present` is found again in the records of messages. What a window of something durable remembers of persistent
messages has records of its own: changes in each turn, and all of it with each snapshot of the topology.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.deadlines import NEVER_MS
from mansio.core.equivalence import type_name
from mansio.core.limits import IDS_MAX, TIME_MAX_MS
from mansio.core.marks import DUPLICATE, Marks
from mansio.core.records import Parts, encode_topology

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.routing import Arguments
    from mansio.core.run import Run
    from mansio.core.session import Channel

REMEMBER: Final = "remember"
"""What a TOPOLOGY record does that says which ids are remembered now, and until when."""

IDS_DEFAULT: Final = 65_536
"""Ids that a window remembers, the oldest go first: about 15 MiB. `x-cache-size` asks for another number."""


class Present:
    """Ids of the messages that are in one queue."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """By id how many there are: more than one only of what the broker moved there."""

    def knows(self, id: str, now_ms: int) -> bool:
        return id in self.counts

    def take(self, id: str) -> None:
        """A message with this id is in the queue."""
        self.counts[id] = self.counts.get(id, 0) + 1

    def settled(self, id: str) -> None:
        """It is not any more."""
        left = self.counts[id] - 1
        if left:
            self.counts[id] = left
        else:
            del self.counts[id]


class Window:
    """Ids that were seen, each until a time in Unix ms, the oldest first; `size` of them at most."""

    __slots__ = ("ids", "size", "ttl_ms")

    def __init__(self, ttl_ms: int | None, size: int) -> None:
        self.ttl_ms = ttl_ms
        self.size = size
        self.ids: OrderedDict[str, tuple[int, bool]] = OrderedDict()  # a dict is slow at its front
        """Until when, and whether also over a restart."""

    def knows(self, id: str, now_ms: int) -> bool:
        found = self.ids.get(id)
        return found is not None and found[0] > now_ms

    def until_ms(self, ttl_ms: int | None, now_ms: int) -> int:
        """How long an id that comes now is remembered; `ttl_ms`: what its message asks for."""
        if ttl_ms is None:
            ttl_ms = self.ttl_ms
        return NEVER_MS if ttl_ms is None else now_ms + ttl_ms

    def remember(self, id: str, until_ms: int, kept: bool, now_ms: int = 0) -> None:
        """A message with this id has come; `kept`: so durably that it is known after a restart."""
        ids = self.ids
        ids.pop(id, None)
        ids[id] = (until_ms, kept)
        for _ in range(2):  # one comes, two may go
            oldest = next(iter(ids))
            if len(ids) > self.size or ids[oldest][0] <= now_ms:
                del ids[oldest]
                if not ids:
                    break

    def forget(self, id: str) -> None:
        """It may come again."""
        self.ids.pop(id, None)

    def kept(self, now_ms: int) -> list[tuple[str, int]]:
        """What is to be known after a restart: (id, until when), the oldest first."""
        return [
            (id, until_ms)
            for id, (until_ms, kept) in self.ids.items()
            if kept and until_ms > now_ms
        ]


def make_memory(arguments: "Arguments") -> Present | Window | None:
    """What a queue with these arguments remembers."""
    if arguments.get("x-message-deduplication") and "x-cache-ttl" not in arguments:
        return Present()
    return make_window(arguments)


def make_window(arguments: "Arguments") -> Window | None:
    """What an exchange with these arguments remembers."""
    if not arguments.get("x-message-deduplication"):
        return None
    return Window(arguments.get("x-cache-ttl"), arguments.get("x-cache-size", IDS_DEFAULT))


def wrong_argument(arguments: "Arguments") -> tuple[str, str] | None:
    """The first argument that makes no sense, and what is wrong with it."""
    key = "x-message-deduplication"
    asked = arguments.get(key, False)
    if not isinstance(asked, bool):
        return key, f"{{unacceptable_type,{type_name(asked)}}}"
    for key, most in (("x-cache-ttl", TIME_MAX_MS), ("x-cache-size", IDS_MAX)) if asked else ():
        value = arguments.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int):
            return key, f'"expected integer, got {type_name(value)}"'
        if not 0 < value <= most:
            return key, f'"expected 1 to {most}, got {value}"'
    return None


class Deduplication:
    """Who has seen which ids. Called only for messages with marks."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._fresh: dict[Window, tuple[str, str, str, dict[str, int]]] = {}
        """Of this turn: (vhost, exchange or queue, its name, ids and until when; 0: it is forgotten)."""
        self._firsts: dict[tuple[Window, str], Marks] = {}
        """Messages of this turn that windows remember; what had the same id before one of them was over by then."""
        self._repeats: dict[tuple[Present | Window, str | Marks], list[tuple[Channel, int]]] = {}
        """Duplicates of this turn, by who knew them, and by their id or, for windows, by the first one's marks:
        (channel, number of the publish; 0: of a transaction)."""

    def admit(
        self, run: "Run", queues: "tuple[Queue, ...]", channel: "Channel | None"
    ) -> "tuple[Queue, ...]":
        """Those of the queues that take the message: none if it is a duplicate."""
        marks = run.marks
        assert marks is not None and marks.id is not None
        id, now_ms = marks.id, self._broker.now_ms
        if channel is None:
            return queues
        route = run.routes[0]
        host = channel.session.vhost
        if route.window is not None and route.window.knows(id, now_ms):
            self._repeated(route.window, id, channel)
            self._broker.receipts.send(host, run, DUPLICATE)
            return ()
        taken: list[Queue] = []
        for queue in queues:
            if queue.dedup is None or not queue.dedup.knows(id, now_ms):
                taken.append(queue)
            else:
                self._repeated(queue.dedup, id, channel)
                self._broker.receipts.send(host, run, DUPLICATE, queue)
        if len(taken) < len(queues) and all(queue.hidden for queue in taken):
            return ()
        return tuple(taken)

    def admit_delayed(self, run: "Run", channel: "Channel") -> bool:
        """Whether an exchange takes a message that is held back. If so, it remembers its id from now on, and does not
        look again when the message is due."""
        marks, route, broker = run.marks, run.routes[0], self._broker
        if marks is None or marks.id is None or route.window is None:
            return True
        host = channel.session.vhost
        if route.window.knows(marks.id, broker.now_ms):
            self._repeated(route.window, marks.id, channel)
            broker.receipts.send(host, run, DUPLICATE)
            broker.intake.refuse(channel, run)
            return False
        self._remember_in_exchange(run, host)
        return True

    def _repeated(self, memory: Present | Window, id: str, channel: "Channel") -> None:
        """A duplicate was not taken, for what this remembers. It shares the fate of the first one: if a window has that
        from an earlier turn, nobody will refuse it."""
        self._broker.counts.deduplicated += 1
        first = self._firsts.get((memory, id)) if isinstance(memory, Window) else id
        number = channel.published if channel.confirming else 0
        if first is not None and (number or channel.tx is not None):
            self._repeats.setdefault((memory, first), []).append((channel, number))

    def arrived(self, run: "Run", queues: "tuple[Queue, ...]", channel: "Channel | None") -> None:
        """A message is in these queues and in the records; so no window remembers one that is not."""
        marks = run.marks
        assert marks is not None and marks.id is not None
        routed = not all(queue.hidden for queue in queues)
        if channel is not None and routed:
            self._remember_in_exchange(run, channel.session.vhost)
        for queue in queues:
            if isinstance(queue.dedup, Present):
                if self._repeats and not queue.dedup.knows(marks.id, 0):
                    self._repeats.pop((queue.dedup, marks.id), None)  # theirs was taken and is gone
                queue.dedup.take(marks.id)
            elif queue.dedup is not None and channel is not None:
                kept = (run.persistent or queue.keeps) and queue.logged
                self._remember(queue.dedup, run, (queue.vhost, "queue", queue.name), kept)

    def _remember_in_exchange(self, run: "Run", vhost: str) -> None:
        """For the exchange that it was published to, if that takes an id once."""
        route = run.routes[0]
        if route.window is not None:
            kept = run.persistent and route.window_durable
            self._remember(route.window, run, (vhost, "exchange", route.exchange), kept)

    def _remember(self, window: Window, run: "Run", of: tuple[str, str, str], kept: bool) -> None:
        marks = run.marks
        assert marks is not None and marks.id is not None
        marks.remembered = True
        self._firsts[window, marks.id] = marks
        now_ms = self._broker.now_ms
        until_ms = window.until_ms(marks.ttl_ms, now_ms)
        window.remember(marks.id, until_ms, kept, now_ms)
        if kept:
            fresh = self._fresh.setdefault(window, (*of, {}))[3]
            fresh.pop(marks.id, None)  # the order is that in which they are forgotten
            fresh[marks.id] = until_ms

    def settled(self, queue: "Queue", id: str) -> None:
        """A message with this id is done with in the queue."""
        if isinstance(queue.dedup, Present):
            queue.dedup.settled(id)

    def refused(self, queue: "Queue", run: "Run") -> None:
        """A full queue did not take a message of this turn, and its publisher hears of it."""
        marks = run.marks
        if marks is None or marks.id is None:
            return
        if isinstance(queue.dedup, Present) and queue.dedup.counts[marks.id] == 1:
            self._refuse_repeats(queue.dedup, marks.id)
        if not marks.remembered:
            return
        route = run.routes[0]
        if route.window is not None:
            self._forget(route.window, marks, (queue.vhost, "exchange", route.exchange))
        if isinstance(queue.dedup, Window):
            self._forget(queue.dedup, marks, (queue.vhost, "queue", queue.name))

    def _refuse_repeats(self, memory: Present | Window, first: str | Marks) -> None:
        """The first one was refused, and so are those that came behind it."""
        for channel, number in self._repeats.pop((memory, first), ()):
            if number:
                channel.rejected.append((number, number))
            else:
                channel.tx_refused = True

    def turned(self) -> None:
        """A turn has ended: what was not refused by now will not be."""
        if self._firsts:
            self._firsts.clear()
        if self._repeats:
            self._repeats.clear()

    def _forget(self, window: Window, marks: Marks, of: tuple[str, str, str]) -> None:
        id = marks.id
        assert id is not None
        self._refuse_repeats(window, marks)
        if self._firsts.get((window, id)) is not marks:
            return  # it has come again, when its time was over
        if id in window.ids and window.ids[id][1]:
            self._fresh.setdefault(window, (*of, {}))[3][id] = 0
        window.forget(id)

    def take_records(self) -> list[Parts]:
        """Takes the records of what windows have learnt since the last call."""
        if not self._fresh:
            return []
        fresh, self._fresh = self._fresh, {}
        records: list[Parts] = []
        for window, (vhost, kind, name, ids) in fresh.items():
            host = self._broker.vhosts.get(vhost)
            if host is None:  # deleted, and with it all that is in it
                continue
            owner = host.exchanges.get(name) if kind == "exchange" else host.queues.get(name)
            if owner is not None and owner.dedup is window:  # else it is deleted
                change = {"do": REMEMBER, "vhost": vhost, kind: name, "ids": list(ids.items())}
                records.append(encode_topology(change))
        return records


def restore_ids(window: Present | Window | None, ids: Iterable[Any]) -> None:
    """What a record says of a window, for the first time or again. TypeError, ValueError if it makes no sense."""
    if not isinstance(window, Window):
        return
    for id, until_ms in ids:
        if until_ms:
            window.remember(str(id), int(until_ms), True)
        else:
            window.forget(str(id))
