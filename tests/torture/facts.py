"""Queues, exchanges and bindings: what may be there after a restart.

One client changes them, one change after the other, so what is there after a crash is what was there behind some prefix
of its changes: at least up to the last one that is synced, or, without a crash, that was processed.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.torture.syncing import Thing


@dataclass(slots=True, eq=False)
class Change:
    """A request that changes things at once: entity → whether it is there afterwards."""

    effects: dict[str, bool]
    thing: Thing


class Facts:
    """Entities and the changes that are under way."""

    def __init__(self) -> None:
        self._known: dict[str, bool] = {}
        self._changes: list[Change] = []

    def changing(self, change: Change) -> None:
        """A request goes out."""
        self._changes.append(change)

    def found(
        self, seen: dict[str, bool], crashed: bool
    ) -> tuple[list[Change], list[Change]] | str:
        """What was there on a look; from here on it is what is known.

        Answers the changes that certainly were made and those that certainly were not, or a complaint.
        """
        changes = self._changes
        sure = 0
        for i, change in enumerate(changes):
            if change.thing.synced or (change.thing.processed and not crashed):
                sure = i + 1
        state = dict(self._known)
        fitting: list[int] = []
        nearest: dict[str, bool] | None = None
        for k in range(len(changes) + 1):
            if k:
                state |= changes[k - 1].effects
            if k < sure:
                continue
            different = {
                name: there for name, there in seen.items() if state.get(name, False) != there
            }
            if not different:
                fitting.append(k)
            elif nearest is None or len(different) < len(nearest):
                nearest = different
        self._known = dict(seen)
        self._changes = []
        if not fitting:
            parts = [
                f"{name} is {'' if there else 'not '}there"
                for name, there in (nearest or {}).items()
            ]
            return f"no state since the last synced change: {', '.join(sorted(parts))}"
        return changes[: fitting[0]], changes[fitting[-1] :]
