"""When a message that a consumer gave back is ready again: the queue argument `x-retry`.

    {"delays": [1000, 5000, 60000]}                                              one after the other, then no more
    {"first": 1000, "factor": 2, "max": 60000, "jitter": 0.1, "limit": 5}        first, first × factor, … up to max

Times in milliseconds. `factor` is 2, `jitter` 0, and there is no `max` and no `limit`, where they are not given.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from mansio.core.limits import TIME_MAX_MS

if TYPE_CHECKING:
    from mansio.core.draws import Draws
    from mansio.core.routing import Arguments

_KEYS: Final = frozenset(("first", "factor", "max", "jitter", "limit"))
DELAYS_MAX: Final = 1000
"""Entries of a list of delays."""
LIMIT_MAX: Final = 1_000_000
FACTOR_MAX: Final = 1000


class Retry:
    """The rule of one queue. `limit`: how often a message is tried again, -1: any number of times."""

    __slots__ = ("_delays", "_factor", "_first", "_max", "jitter", "limit")

    def __init__(self, table: "Arguments") -> None:
        """`table` was checked by `fault`."""
        delays = table.get("delays")
        self._delays: list[int] | None = None if delays is None else list(delays)
        self.jitter = float(table.get("jitter", 0))
        self.limit: int = table.get("limit", -1) if delays is None else len(delays)
        self._first: int = table.get("first", 0)
        self._factor = float(table.get("factor", 2))
        self._max: int = table.get("max", TIME_MAX_MS)

    def delay_ms(self, attempt: int, draws: "Draws") -> int | None:
        """How long a message waits that is given back for the `attempt`-th time, from 1 on; None: not once more."""
        if attempt > self.limit >= 0:
            return None
        if self._delays is not None:
            return self._delays[attempt - 1]
        try:
            delay_ms = min(int(self._first * self._factor ** (attempt - 1)), self._max)
        except OverflowError:
            delay_ms = self._max
        reach = int(delay_ms * self.jitter)
        if reach:
            delay_ms = min(delay_ms - reach + draws.below(2 * reach + 1), self._max)
        return delay_ms


def fault(value: Any) -> str | None:
    """What is wrong with an `x-retry`, for its user."""
    if not isinstance(value, dict):
        return '"expected a table"'
    if "delays" in value:
        return _fault_of_list(value)
    unknown = sorted(value.keys() - _KEYS)
    if unknown:
        return (
            f"\"unknown key '{unknown[0]}', expected delays, or first, factor, max, jitter, limit\""
        )
    if "first" not in value:
        return "\"expected 'delays' or 'first'\""
    for key in ("first", "max"):
        if key in value and not _is_whole(value[key], 0, TIME_MAX_MS):
            return f"\"expected '{key}' to be from 0 to {TIME_MAX_MS} ms\""
    if "limit" in value and not _is_whole(value["limit"], 0, LIMIT_MAX):
        return f"\"expected 'limit' to be a whole number from 0 to {LIMIT_MAX}\""
    if not _is_number(value.get("factor", 2), 1, FACTOR_MAX):
        return f"\"expected 'factor' to be a number from 1 to {FACTOR_MAX}\""
    if not _is_number(value.get("jitter", 0), 0, 1):
        return "\"expected 'jitter' to be a number from 0 to 1\""
    return None


def _fault_of_list(value: "Arguments") -> str | None:
    delays = value["delays"]
    if len(value) > 1:
        return "\"expected nothing beside 'delays'\""
    if not isinstance(delays, list) or not 1 <= len(delays) <= DELAYS_MAX:
        return f"\"expected 'delays' to be a list of 1 to {DELAYS_MAX} times in ms\""
    if not all(_is_whole(delay, 0, TIME_MAX_MS) for delay in delays):
        return f"\"expected each of 'delays' to be from 0 to {TIME_MAX_MS} ms\""
    return None


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: int, high: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    return low <= value <= high  # not so for what is no number
