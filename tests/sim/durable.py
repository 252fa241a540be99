"""What is durable: the content of the log, read entry by entry as it lands, as a restart would read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mansio.core.deduplication import REMEMBER
from mansio.core.records import (
    SNAPSHOT,
    STARTED,
    Counted,
    Published,
    Settled,
    decode,
    unpack_table,
)
from mansio.log.entry import Lineage, decode_entry
from mansio.log.memory import MemoryStore
from tests.sim.delaying import STORE
from tests.sim.model import Place
from tests.sim.repeats import FOREVER_MS
from tests.sim.topology import history_of


@dataclass(slots=True)
class Stored:
    """A message in the log: its frames, without those of its method."""

    frames: bytes
    arrived_ms: int
    expiration_ms: int | None
    priority: int
    settled: bool = False
    deliveries: int = 0
    """How often it was given back."""
    due_ms: int = 0
    """When it is ready again, 0: at once."""
    held: tuple[int, int] = (0, -1)
    """Of a delayed message: when it is due, and the first position that it had."""


@dataclass(slots=True)
class Together:
    """Messages of a stream that are one record, in entry `seq` of the log."""

    base: int
    count: int
    data_bytes: int
    came_ms: int
    seq: int


class Durable:
    """The log's content by place. `update` reads what has landed since the last call."""

    def __init__(self, store: MemoryStore) -> None:
        self.places: dict[Place, Stored] = {}
        self.changes: list[dict[str, Any]] = []
        """Of exchanges, queues and bindings, in order."""
        self.next_positions: dict[tuple[str, int], int] = {}
        """The position behind the last message that a queue has in the log."""
        self.queues: dict[int, tuple[str, int]] = {}
        """(name, incarnation) of the queues that are declared and not deleted, by id."""
        self.declared: dict[int, tuple[str, int]] = {}
        """The same of all that ever were declared."""
        self.windows: dict[tuple[str, str], dict[str, int]] = {}
        """Until when ids are remembered, by kind and name of what has seen them."""
        self._declared: dict[str, int] = {}
        self._histories: dict[str, int] = {}
        """Ids of the queues that hold what exchanges remember, by the names of these."""
        self._store = store
        self._lineage = Lineage()
        self._seen = 0
        self._runs: dict[tuple[str, int], dict[tuple[int, int], Together]] = {}
        """Of streams, by position and how many they are: messages that came together."""
        self._sources: dict[tuple[str, int], tuple[str, int]] = {}
        """Groups and their streams: what the log says of a message of a group, it says behind that of the stream."""
        self._carried: dict[Place, tuple[int, int]] = {}
        """What this entry has brought again, an entry that is to be cut off had it: how often it was given back, and
        when it is ready again."""
        self.links: list[tuple[Place, list[Place]]] = []
        """A message that has ended, and the letters or the receipt that were written for it: all of that is in one
        entry."""

    def update(self) -> None:
        """Reads on. ValueError for records that make no sense."""
        entries = self._store.entries
        while (data := entries.get(self._seen + 1)) is not None:
            self._seen += 1
            self._carried.clear()
            if self._lineage.admit(self._seen, data):
                for record in decode_entry(data).records:
                    self._take(decode(record))
                self._check_entry()

    def _check_entry(self) -> None:
        kept = set(self.queues.values())
        for place, before in self._carried.items():
            now = self.places[place]
            lost = (now.deliveries, now.due_ms) < before and not now.settled
            if lost and place[:2] in kept:
                raise ValueError(f"{place} was carried, given back {before[0]} times, without that")
        open_links = []
        for source, targets in self.links:
            died = self.places.get(source)
            done = [died is not None and (died.settled or source[:2] not in kept)]
            done += [target in self.places for target in targets]
            if any(done) and not all(done):
                raise ValueError(f"{source} became {targets} in more than one entry: {done}")
            if not any(done):
                open_links.append((source, targets))
        self.links = open_links

    def live(self) -> dict[Place, Stored]:
        """The messages that a restart would bring back, by place."""
        kept = set(self.queues.values())
        return {
            place: stored
            for place, stored in self.places.items()
            if not stored.settled and stored.frames and place[:2] in kept
        }

    def is_stream(self, queue: tuple[str, int]) -> bool:
        """Whether this (name, incarnation) is, or was, a stream."""
        return queue in self._runs

    def runs_of(self, stream: tuple[str, int]) -> list[Together]:
        """What the log still has of a stream, by position, where there is a choice the longest first."""
        first_seq = min(self._store.entries, default=0)
        runs = [each for each in self._runs[stream].values() if each.seq >= first_seq]
        return sorted(runs, key=lambda each: (each.base, -each.count))

    def _take(self, record: object) -> None:
        if isinstance(record, Published):
            self._take_published(record)
        elif isinstance(record, Settled):
            name, incarnation = self.declared[record.queue]
            for first, count, step in record.ranges:
                for position in range(first, first + count * step, step):
                    stored, carried = self._find(name, incarnation, position)
                    if stored.settled and not carried:
                        raise ValueError(f"position {position} of {name} is settled twice")
                    stored.settled = True
        elif isinstance(record, Counted):
            name, incarnation = self.declared[record.queue]
            for first, count, step in record.ranges:
                for position in range(first, first + count * step, step):
                    stored, _ = self._find(name, incarnation, position)
                    stored.deliveries, stored.due_ms = record.deliveries, record.due_ms
        elif isinstance(record, dict):
            if record["do"] == SNAPSHOT:
                self._take_snapshot(record)
            if record["do"] == "keep delays":
                self._declare(record["id"], STORE)
            if record["do"] == REMEMBER:
                self._take_ids(record)
            if record["do"] in (SNAPSHOT, STARTED, REMEMBER, "keep delays"):
                return
            for kind in ("exchange", "queue"):
                if record["do"] == f"declare {kind}":
                    self.windows[kind, record["name"]] = {}
            self.changes.append(record)
            if record["do"] == "declare queue":
                self._declare(record["id"], record["name"])
                arguments = unpack_table(record["arguments"])
                if arguments.get("x-queue-type") == "stream":
                    self._runs[self.declared[record["id"]]] = {}
                source = arguments.get("x-stream")
                if source is not None:
                    key = str(source), self._declared[str(source)] - 1
                    self._sources[self.declared[record["id"]]] = key
            elif record["do"] == "delete queue":
                del self.queues[record["id"]]
            elif record["do"] == "declare exchange" and "history" in record:
                self._declare(record["history"], history_of(record["name"]))
                self._histories[record["name"]] = record["history"]
            elif record["do"] == "delete exchange":
                self.queues.pop(self._histories.pop(record["name"], 0), None)

    def _take_ids(self, record: dict[str, Any]) -> None:
        kind = "exchange" if "exchange" in record else "queue"
        known = self.windows[kind, record[kind]]
        for ident, until_ms in record["ids"]:
            known.pop(ident, None)
            if until_ms:
                known[ident] = min(until_ms, FOREVER_MS)

    def _find(self, name: str, incarnation: int, position: int) -> tuple[Stored, bool]:
        """A message in the log, and whether this entry of the log has brought it again."""
        place = name, incarnation, position
        source = self._sources.get(place[:2])
        if source is None:
            return self.places[place], place in self._carried
        if (*source, position) not in self.places:
            raise ValueError(f"position {position} of group {name} is not in its stream")
        stored = self.places.setdefault(place, Stored(b"", 0, None, 0))
        return stored, (*source, position) in self._carried

    def _declare(self, ident: int, name: str) -> None:
        incarnation = self._declared.get(name, 0)
        self._declared[name] = incarnation + 1
        self.declared[ident] = self.queues[ident] = (name, incarnation)

    def _take_snapshot(self, record: dict[str, Any]) -> None:
        """It says where queues go on, also behind transient messages."""
        for host in record["vhosts"].values():
            found = [(queue["id"], queue["next"]) for queue in host["queues"]]
            found += [
                (exchange["history"], exchange["next"])
                for exchange in host["exchanges"]
                if "history" in exchange
            ]
            for ident, position in found:
                key = self.declared[ident]
                self.next_positions[key] = max(self.next_positions.get(key, 0), position)

    def _take_published(self, record: Published) -> None:
        for queue, base in record.places:
            runs = self._runs.get(self.declared[queue])
            if runs is not None:
                size, came_ms = len(record.data), record.arrived_ms
                about = Together(base, record.messages, size, came_ms, self._seen)
                runs[base, record.messages] = about
        ends = memoryview(record.ends).cast("I") if record.ends is not None else None
        start = 0
        for i in range(record.messages):
            stop = ends[i] if ends is not None else start + record.stride
            route = record.routes[record.which[i] if record.which is not None else 0]
            frames = record.data[start + route[0] : stop]
            for queue, base in record.places:
                name, incarnation = self.declared[queue]
                place = (name, incarnation, base + i)
                traits = record.arrived_ms, record.expiration_ms, record.priority
                held = _held(record.due, record.messages, i, base + i)
                before = self.places.setdefault(place, Stored(frames, *traits, held=held))
                if before.held != held:
                    raise ValueError(f"position {base + i} of {name} is due at {held}, {before}")
                packed = place[:2] in self._runs and record.arrived_ms >= before.arrived_ms
                same = before.arrived_ms == record.arrived_ms or packed
                if before.frames != frames or not same:
                    raise ValueError(f"position {base + i} of {name} is published twice")
                self._carried[place] = before.deliveries, before.due_ms
                before.deliveries = before.due_ms = 0
                last = self.next_positions.get(place[:2], 0)
                self.next_positions[place[:2]] = max(last, base + i + 1)
            start = stop


def _held(due: Sequence[int] | None, count: int, i: int, position: int) -> tuple[int, int]:
    """When message `i` of `count` is due, and the first position that it had, as its record says."""
    if due is None:
        return 0, -1
    if len(due) == 1:
        return due[0], position
    return due[i], due[count + i] if len(due) == 2 * count else position
