"""What always holds between the Broker's structures, asserted from outside: after every step of the simulation.

A message in a queue is at one place, ready or in flight, and everything that counts messages agrees:

    queue.ready       ─► spans in rising order of position  ─► queue.ready_count
    channel.ledger    ─► flights in rising order of tag     ─► ledger.total, flight.left
      + transactions  ─► pieces that wait for the commit    ─► queue.in_flight, consumer.unsettled, channel.unsettled
    both              ─► run.live of each run               ─► broker.memory_bytes

A queue that has messages and a consumer with room is either about to be dispatched (dirty), or the consumer's
session knows that it is starved and asks again once it may be sent more. Otherwise a credit was lost.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from mansio.core.check_access import check_access
from mansio.core.check_delays import check_deferred, check_delays
from mansio.core.check_items import check_items
from mansio.core.check_lines import check_line, check_lines
from mansio.core.check_log import check_retention
from mansio.core.check_marks import check_marks
from mansio.core.check_paging import check_paging, is_awaited
from mansio.core.check_policies import check_policies
from mansio.core.check_stream import check_stream
from mansio.core.check_times import check_times
from mansio.core.check_topology import InvariantBroken, check_vhost
from mansio.core.limits import TURN_BYTES
from mansio.core.sharing import needs_sharing
from mansio.core.stream import Stream

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.confirms import Confirms
    from mansio.core.dispatch import Consumer
    from mansio.core.inflight import Flight, Piece
    from mansio.core.queue import Queue
    from mansio.core.run import Run, Span
    from mansio.core.session import Channel, Session

__all__ = ["InvariantBroken", "check"]


class _Tally:
    """What was found while walking over the sessions and queues, to be compared with what they say."""

    __slots__ = ("live", "marked", "places", "unsettled")

    def __init__(self) -> None:
        self.marked: list[tuple[Queue, Run]] = []
        self.live: defaultdict[Run, int] = defaultdict(int)
        self.places: defaultdict[Queue, list[Sequence[int]]] = defaultdict(list)
        self.unsettled: defaultdict[Consumer, int] = defaultdict(int)


def check(broker: "Broker", topology: bool = True, turn_bytes: int = TURN_BYTES) -> None:
    """Raises InvariantBroken for the first thing that is not as it has to be.

    `topology` False leaves out exchanges and bindings, for callers who know that they have not changed.
    `turn_bytes`: the allowance that sessions are granted.
    """
    tally = _Tally()
    check_access(broker)
    for session in broker.sessions:
        _check_session(session, broker, turn_bytes, tally)
    for piece in broker.dead_letters.held_back():
        _count(piece, _places(piece), tally)
    for consumer, count in tally.unsettled.items():
        if consumer.unsettled != count:
            raise InvariantBroken(
                f"{_name(consumer)} counts {consumer.unsettled} unsettled, the ledger has {count}"
            )
    for queue, groups in tally.places.items():
        count = sum(map(len, groups))
        if queue.in_flight != count:
            raise InvariantBroken(
                f"queue {queue.name} counts {queue.in_flight} in flight, the ledgers have {count}"
            )
    for host in broker.vhosts.values():
        for queue in host.queues.values():
            _check_queue(queue, broker, tally)
        for history in host.histories():
            _check_ready(history, tally)
        check_lines(host)
        if topology:
            check_vhost(host)
            check_policies(host)
    for feed in broker.feeds.pending:
        _check_ready(feed, tally)
    check_delays(broker, tally.live)
    _check_runs(broker, tally)
    check_retention(broker.journal.retention, [*tally.live, *check_items(broker)])
    check_marks(broker, tally.marked)
    _check_dirty(broker)
    _check_confirms(broker.confirms)


# -- sessions


def _check_session(session: "Session", broker: "Broker", turn_bytes: int, tally: _Tally) -> None:
    if session.closed:
        raise InvariantBroken(f"session {session.name} is closed, and the broker still has it")
    if session.allowance > turn_bytes:
        raise InvariantBroken(f"session {session.name} may be sent {session.allowance} bytes")
    if session.allowance > 0:
        if not session.writable:
            raise InvariantBroken(f"session {session.name} takes nothing but may be sent something")
        if session.starved:
            raise InvariantBroken(f"session {session.name} is starved but may be sent something")
    for name, queue in session.owned.items():
        if queue.owner is not session or broker.vhosts[queue.vhost].queues.get(name) is not queue:
            raise InvariantBroken(f"session {session.name} does not own queue {name}")
    for number, channel in session.channels.items():
        if channel.number != number or channel.session is not session:
            raise InvariantBroken(f"channel {number} of {session.name} is registered wrongly")
        _check_channel(channel, tally)


def _check_channel(channel: "Channel", tally: _Tally) -> None:
    if not 0 <= channel.sealed <= channel.published:
        raise InvariantBroken(
            f"{_where(channel)}: sealed {channel.sealed} of {channel.published} publishes"
        )
    if channel.confirming and channel.tx is not None:
        raise InvariantBroken(f"{_where(channel)} both confirms and has a transaction")
    for tag, consumer in channel.consumers.items():
        queue = consumer.queue
        if consumer.tag != tag or consumer.channel is not channel:
            raise InvariantBroken(f"{_where(channel)} has {_name(consumer)} as {tag}")
        if queue.deleted or consumer not in queue.consumers:
            raise InvariantBroken(f"queue {queue.name} does not know {_name(consumer)}")
        tally.unsettled[consumer] += 0
        if consumer.limit and consumer.unsettled > consumer.limit:
            raise InvariantBroken(
                f"{_name(consumer)} has {consumer.unsettled} unsettled, prefetch {consumer.limit}"
            )
    counted = _check_ledger(channel, tally)
    if channel.tx is not None:
        for pieces, _ in channel.tx.settled:
            for piece in pieces:
                counted += _count(piece, _places(piece), tally)
    if counted != channel.unsettled:
        raise InvariantBroken(
            f"{_where(channel)} counts {channel.unsettled} unsettled, its ledger has {counted}"
        )


def _check_ledger(channel: "Channel", tally: _Tally) -> int:
    """Answers how many of the deliveries in the ledger went to consumers."""
    last = total = counted = 0
    for flight in channel.ledger:
        first = flight.first
        if first <= last:
            raise InvariantBroken(f"{_where(channel)}: a flight from tag {first} behind tag {last}")
        last = first + flight.count - 1
        places = _places(flight)
        if flight.settled is not None:
            places = _open_places(flight, places)
        left = len(places)
        if left != flight.left or not left:
            raise InvariantBroken(
                f"{_where(channel)}: flight {first}-{last} has {left} open, says {flight.left}"
            )
        total += left
        counted += _count(flight, places, tally)
    if last >= channel.next_tag:
        raise InvariantBroken(f"{_where(channel)}: tag {last}, the next is {channel.next_tag}")
    if total != channel.ledger.total:
        raise InvariantBroken(
            f"{_where(channel)}: the ledger says {channel.ledger.total}, holds {total}"
        )
    return counted


def _places(piece: "Piece") -> Sequence[int]:
    """The positions of its messages in their queue."""
    first, step = piece.base + piece.start, piece.step
    return range(first, first + piece.count * step, step)


def _open_places(flight: "Flight", places: Sequence[int]) -> Sequence[int]:
    """Those of the positions that are unsettled."""
    settled = flight.settled or b""
    if len(settled) != flight.count:
        raise InvariantBroken(
            f"flight of tag {flight.first}: {len(settled)} marks of {flight.count}"
        )
    return [place for place, gone in zip(places, settled, strict=True) if not gone]


def _count(piece: "Piece", places: Sequence[int], tally: _Tally) -> int:
    """Takes a delivery into the tally; answers how many count against the channel's limit."""
    run, consumer = piece.run, piece.consumer
    if piece.start < 0 or piece.start + (piece.count - 1) * piece.step >= run.count:
        raise InvariantBroken(f"a delivery of tag {piece.first} is outside of its run")
    count = len(places)
    if not piece.queue.keeps:
        tally.live[run] += count
    tally.places[piece.queue].append(places)
    if run.marks is not None:
        tally.marked += [(piece.queue, run)] * count
    if consumer is None:
        return 0
    tally.unsettled[consumer] += count
    return count


# -- queues


def _check_queue(queue: "Queue", broker: "Broker", tally: _Tally) -> None:
    name = queue.name
    if queue.deleted:
        raise InvariantBroken(f"queue {name} is deleted, and its virtual host still has it")
    if queue.in_flight and queue not in tally.places:
        raise InvariantBroken(f"queue {name} counts {queue.in_flight} in flight, no ledger does")
    owner = queue.owner
    if owner is not None and (owner not in broker.sessions or owner.owned.get(name) is not queue):
        raise InvariantBroken(f"exclusive queue {name} is not registered with its owner")
    if queue.auto_delete and queue.had_consumer and not queue.consumers:
        raise InvariantBroken(f"auto-delete queue {name} has lost its last consumer and is there")
    _check_ready(queue, tally)
    _check_consumers(queue)
    if isinstance(queue, Stream):
        check_stream(queue, broker)
    elif queue.ready_count and not (
        queue.dirty or _has_expired(queue, broker) or is_awaited(queue, broker)
    ):
        _check_served(queue)
    check_line(queue, broker)
    check_times(queue, broker)


def _has_expired(queue: "Queue", broker: "Broker") -> bool:
    """Whether the head has to go before anybody is served."""
    return queue.expiry is not None and queue.expiry.of(queue.ready[0].run) <= broker.now_ms


def _check_ready(queue: "Queue", tally: _Tally) -> None:
    flying = set(chain.from_iterable(tally.places.get(queue, ())))
    if isinstance(queue, Stream):
        if queue.packing is not None:
            tally.live[queue.packing.run] += queue.packing.run.count
        flying = set()  # they are read by many, and still there
    elif len(flying) != queue.in_flight:
        raise InvariantBroken(f"queue {queue.name}: a message is in flight twice")
    end = queue.low_position
    ready = 0
    head = None
    for lane in queue.lanes():
        head = lane if lane else head
        low = queue.low_position
        for span in lane:
            low = _check_span(queue, span, low, flying)
            there = span.stop - span.start
            if isinstance(queue, Stream):
                there = queue.alive(span.base, span.base + span.stop)
            ready += there
            tally.live[span.run] += there
            if span.run.marks is not None:
                tally.marked.append((queue, span.run))
        end = max(end, low)
    if head is not None and queue.ready is not head:
        raise InvariantBroken(f"queue {queue.name} does not look at its highest priority")
    if ready != queue.ready_count:
        raise InvariantBroken(f"queue {queue.name} counts {queue.ready_count} ready, has {ready}")
    if end > queue.next_position or (flying and max(flying) >= queue.next_position):
        raise InvariantBroken(f"queue {queue.name}: a message at or above {queue.next_position}")
    if queue.deferred is not None:
        places = (range(span.base + span.start, span.base + span.stop) for span in queue.spans())
        check_deferred(queue, flying.union(*places), tally.live)
        runs = (span.run for span in queue.deferred)
        tally.marked += [(queue, run) for run in runs if run.marks is not None]


def _check_span(queue: "Queue", span: "Span", low: int, flying: set[int]) -> int:
    """Answers the position behind the span, which begins at `low` or behind it."""
    first, stop = span.base + span.start, span.base + span.stop
    if not 0 <= span.start < span.stop <= span.run.count:
        raise InvariantBroken(f"queue {queue.name}: a span from {span.start} to {span.stop}")
    if first < low:
        raise InvariantBroken(f"queue {queue.name}: position {first} behind {low - 1}")
    if flying and not flying.isdisjoint(range(first, stop)):
        raise InvariantBroken(f"queue {queue.name}: a message is both ready and in flight")
    return stop


def _check_consumers(queue: "Queue") -> None:
    exclusive = False
    for consumer in queue.consumers:
        channel = consumer.channel
        session = channel.session
        exclusive = exclusive or consumer.exclusive
        if consumer.queue is not queue or channel.consumers.get(consumer.tag) is not consumer:
            raise InvariantBroken(f"{_name(consumer)} of queue {queue.name}: its channel lost it")
        if session.closed or session.channels.get(channel.number) is not channel:
            raise InvariantBroken(f"queue {queue.name}: {_name(consumer)} is on a closed channel")
    if exclusive != queue.exclusive_consumer or (exclusive and len(queue.consumers) > 1):
        raise InvariantBroken(f"queue {queue.name}: the exclusive use of it is wrong")
    _check_sharing(queue)


def _check_sharing(queue: "Queue") -> None:
    sharing = queue.sharing
    if sharing is None:
        if any(needs_sharing(queue, consumer) for consumer in queue.consumers):
            raise InvariantBroken(f"queue {queue.name}: its consumers are not served as asked for")
        return
    by_priority = sorted(queue.consumers, key=lambda consumer: -consumer.priority)
    if not by_priority or [each for g in sharing.groups for each in g.consumers] != by_priority:
        raise InvariantBroken(f"queue {queue.name}: its consumers are not in order of priority")
    priorities = [group.priority for group in sharing.groups]
    if priorities != sorted({consumer.priority for consumer in by_priority}, reverse=True):
        raise InvariantBroken(f"queue {queue.name}: groups of priorities {priorities}")
    if sharing.single != (sharing.active in queue.consumers):
        raise InvariantBroken(f"queue {queue.name}: its single active consumer is not there")


def _check_served(queue: "Queue") -> None:
    """A queue that is not to be dispatched: nobody with credit may wait for it, but for those of higher priority."""
    sharing = queue.sharing
    if sharing is None or sharing.active is not None or sharing.partition is not None:
        _check_starved(queue, queue.consumers if sharing is None else sharing.first)
        return
    for group in sharing.groups:
        _check_starved(queue, group.consumers)
        if any(consumer.is_spent for consumer in group.consumers):
            return  # lower ones wait for these


def _check_starved(queue: "Queue", consumers: "list[Consumer]") -> None:
    for consumer in consumers:
        channel = consumer.channel
        if not channel.active or queue.id in channel.session.starved:
            continue
        if not consumer.no_ack:
            if consumer.limit and consumer.unsettled >= consumer.limit:
                continue
            if channel.limit and channel.unsettled >= channel.limit:
                continue
        raise InvariantBroken(
            f"queue {queue.name}: {queue.ready_count} ready, {_name(consumer)} has room and waits: a credit was lost"
        )


# -- the whole


def _check_runs(broker: "Broker", tally: _Tally) -> None:
    for run, live in tally.live.items():
        if run.live != live:
            raise InvariantBroken(f"a run of {run.count} counts {run.live} live, has {live}")
    check_paging(broker, tally.live)


def _check_dirty(broker: "Broker") -> None:
    dirty = broker.dispatcher.dirty
    for queue in dirty:
        if not queue.dirty:
            raise InvariantBroken(f"queue {queue.name} is to be dispatched and does not know it")
    if len(set(map(id, dirty))) != len(dirty):
        raise InvariantBroken("a queue is to be dispatched twice")
    for host in broker.vhosts.values():
        for queue in (*host.queues.values(), *host.histories()):
            if queue.dirty and queue not in dirty:
                raise InvariantBroken(f"queue {queue.name} is dirty, but not to be dispatched")


def _check_confirms(confirms: "Confirms") -> None:
    if not confirms.busy and (
        confirms._publishing or confirms._committing or confirms._changing or confirms._waiting
    ):
        raise InvariantBroken("somebody waits for the log, and the server is not told")
    for channel in confirms._publishing:
        if channel.published <= channel.sealed:
            raise InvariantBroken(f"{_where(channel)} waits for a turn without a publish")
    last = 0
    for ticket, sealed, _, _ in confirms._waiting:
        if ticket < last:
            raise InvariantBroken(f"ticket {ticket} behind ticket {last}")
        last = ticket
        for channel, _, upto, _ in sealed:
            if upto > channel.sealed:
                raise InvariantBroken(f"{_where(channel)}: {upto} waits, sealed {channel.sealed}")


def _where(channel: "Channel") -> str:
    return f"channel {channel.number} of {channel.session.name}"


def _name(consumer: "Consumer") -> str:
    return f"consumer {consumer.tag} on {_where(consumer.channel)}"
