"""The statuses that peers are told: three digits, as in HTTP."""

from typing import Final

from mansio.core import errors

OK: Final = 200
EMPTY: Final = 204
"""Nothing came in time."""
ILL_FORMED: Final = 400
"""The request is none, or asks for what cannot be."""
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
LATE: Final = 408
"""A call that nobody has answered in time."""
GONE: Final = 410
"""The connection does not hold what a tag names (any more)."""
TOO_LARGE: Final = 413
TOO_MANY: Final = 429
"""Of what one connection may have under way at once."""
FAILED: Final = 500
"""The message could not be stored, or a worker has rejected it."""
SHORT: Final = 503
"""The broker is short of memory for now."""
FULL: Final = 507
"""The queue, or the disk."""

_OF_ERRORS: Final[dict[type[errors.BrokerError], int]] = {
    errors.AccessRefused: FORBIDDEN,
    errors.ResourceLocked: FORBIDDEN,
    errors.NotFound: NOT_FOUND,
}


class Refused(Exception):
    """A request that is not done: nothing has changed."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


def refusal(error: errors.BrokerError) -> Refused:
    """What a peer hears of an error of the broker."""
    return Refused(_OF_ERRORS.get(type(error), ILL_FORMED), error.text)
