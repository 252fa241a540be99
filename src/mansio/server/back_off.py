"""How long who has failed to log in has to wait before the next try.

Failures are counted by address and user, so that one misconfigured worker does not slow down the others at its address;
and by address alone, for those who try many users. Each further failure doubles the wait.
"""

from dataclasses import dataclass
from typing import Final

from mansio.core.limits import NS

FREE: Final = 3
"""Failures of an address with one user before there is a wait."""
FREE_BY_ADDRESS: Final = 20
"""Failures of an address with any users before there is a wait."""
FIRST_NS: Final = NS // 4
LONGEST_NS: Final = 5 * NS
"""Shorter than the time for a handshake: who has found his password gets in at last."""
FORGET_NS: Final = 60 * NS
"""Failures this long ago do not count any more."""
KNOWN_MAX: Final = 8192
"""Addresses, or addresses with users, that are remembered; the oldest failure is forgotten first."""
WAITING_MAX: Final = 16
"""Logins of one of these that may wait; more are refused at once."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_ns: int = 0
    until_ns: int = 0
    waiting: int = 0


class BackOff:
    """Failures by (address, user), and by (address, "")."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str | None], _Failures] = {}

    def wait_s(self, address: str, user: str, now_ns: int) -> float | None:
        """How long a login has to wait now, 0: it may go on; None: too many wait. Behind a wait call `waited`."""
        found = [
            failures
            for key in ((address, user), (address, None))
            if (failures := self._failures.get(key)) is not None and failures.until_ns > now_ns
        ]
        if not found:
            return 0.0
        if any(failures.waiting >= WAITING_MAX for failures in found):
            return None
        for failures in found:
            failures.waiting += 1
        return (max(failures.until_ns for failures in found) - now_ns) / NS

    def waited(self, address: str, user: str) -> None:
        """The wait is over."""
        for key in ((address, user), (address, None)):
            failures = self._failures.get(key)
            if failures is not None and failures.waiting:
                failures.waiting -= 1

    def failed(self, address: str, user: str, now_ns: int) -> None:
        """A password was wrong, or there was no such user."""
        self._count((address, user), FREE, now_ns)
        self._count((address, None), FREE_BY_ADDRESS, now_ns)

    def succeeded(self, address: str, user: str) -> None:
        """The failures of this user at this address are forgiven, not those of the address with others."""
        self._failures.pop((address, user), None)

    def _count(self, key: tuple[str, str | None], free: int, now_ns: int) -> None:
        failures = self._failures.pop(key, None)
        if failures is None:
            failures = _Failures()
            if len(self._failures) >= KNOWN_MAX:
                del self._failures[next(iter(self._failures))]
        elif now_ns - failures.last_ns > FORGET_NS:
            failures.count = 0
        self._failures[key] = failures  # the newest last
        failures.count += 1
        failures.last_ns = now_ns
        if failures.count >= free:
            wait_ns = FIRST_NS << min(failures.count - free, 16)
            failures.until_ns = now_ns + min(wait_ns, LONGEST_NS)
