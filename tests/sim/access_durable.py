"""The log of a broker with several virtual hosts, as a restart would read it: for each of them what is durable there.

A virtual host that is deleted and made again is another one, though it has the name of the first.
"""

from __future__ import annotations

from typing import Any

from mansio.core.records import SNAPSHOT, STARTED, STOPPED, Counted, Published, Settled
from mansio.log.memory import MemoryStore
from tests.sim.durable import Durable

ACCESS = ("put user", "delete user", "permit", "permit topic", "put vhost", "delete vhost")
"""What operators do, one record for each."""
FIRST = "put users"
"""Stands before the first of those."""


class Part(Durable):
    """What is durable in one virtual host, but the default one."""

    def __init__(self, whole: Whole) -> None:
        super().__init__(whole.store)
        self._whole = whole

    def update(self) -> None:
        """Reads on."""
        self._whole.update()

    def take(self, record: object, seq: int) -> None:
        """A record about this virtual host, in entry `seq` of the log."""
        self._seen = seq
        self._take(record)

    def end_entry(self) -> None:
        """All of an entry was taken."""
        self._check_entry()
        self._carried.clear()


class Whole(Durable):
    """The default virtual host, and all others."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.store = store
        self.parts: dict[str, Part] = {}
        """Virtual hosts that there are, by name."""
        self.coming: list[tuple[str, Part]] = []
        """Those that the log does not know yet, in the order in which they were made."""
        self.done: list[str] = []
        """What operators have done."""
        self._gone: list[Part] = []

    def _take(self, record: object) -> None:
        if isinstance(record, dict):
            self._take_change(record)
            return
        assert isinstance(record, (Published, Settled, Counted)), record
        id = record.places[0][0] if isinstance(record, Published) else record.queue
        if id in self.declared:
            super()._take(record)
            return
        parts = [*self.parts.values(), *self._gone]
        next(each for each in parts if id in each.declared).take(record, self._seen)

    def _take_change(self, change: dict[str, Any]) -> None:
        do = change["do"]
        if do == SNAPSHOT:
            self._take_snapshots(change)
        elif do in ACCESS:
            self.done.append(do)
            self._take_vhost(do, change.get("vhost", ""))
        elif do in (FIRST, STARTED, STOPPED):
            return
        elif change["vhost"] == "/":
            super()._take(change)
        else:
            self.parts[change["vhost"]].take(change, self._seen)

    def _take_vhost(self, do: str, name: str) -> None:
        if do == "put vhost" and name not in self.parts and name != "/":
            i = next(i for i in range(len(self.coming)) if self.coming[i][0] == name)
            self.parts[name] = self.coming.pop(i)[1]
        elif do == "delete vhost":
            self._gone.append(self.parts.pop(name))

    def _take_snapshots(self, record: dict[str, Any]) -> None:
        found = record["vhosts"]
        if found.keys() != {"/", *self.parts}:
            raise ValueError(f"the snapshot has {list(found)}, there are / and {list(self.parts)}")
        super()._take({**record, "vhosts": {"/": found["/"]}})
        for name, part in self.parts.items():
            part.take({**record, "vhosts": {name: found[name]}}, self._seen)

    def _check_entry(self) -> None:
        super()._check_entry()
        for part in self.parts.values():
            part.end_entry()
