"""The queue argument `x-retry` as the oracle knows it: when a message is ready again that its client gave back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sim.topology import Entry


@dataclass(slots=True, eq=False)
class Waiting:
    """A deferred message: it comes back between these times. They are the same, unless there is jitter."""

    entry: Entry
    first_ms: int
    last_ms: int

    def __repr__(self) -> str:
        return f"{self.entry}, deferred until {self.first_ms}…{self.last_ms}"


def delay_range(rule: dict[str, Any], attempt: int) -> tuple[int, int] | None:
    """How long a message waits at least and at most that is given back for the `attempt`-th time; None: no more."""
    delays = rule.get("delays")
    if delays is not None:
        return (delays[attempt - 1],) * 2 if attempt <= len(delays) else None
    if "limit" in rule and attempt > rule["limit"]:
        return None
    delay_ms = rule["first"]
    for _ in range(min(attempt, 100) - 1):
        delay_ms *= rule.get("factor", 2)
    longest_ms = rule.get("max", 10 * 365 * 24 * 3600 * 1000)
    delay_ms = min(delay_ms, longest_ms)
    reach_ms = int(delay_ms * rule.get("jitter", 0))
    return delay_ms - reach_ms, min(delay_ms + reach_ms, longest_ms)
