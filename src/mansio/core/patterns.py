"""Regular expressions of administrators over names that users choose: permissions, policies.

RabbitMQ searches for them with PCRE, on bytes. Python's `re` knows less of that language, and may take hours for a name
that was made for it (`^(a|aa)+$`); `regex` has a limit of time, behind which a name counts as not matched, as behind
PCRE's limit of steps.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from mansio.core.errors import BadValue

if TYPE_CHECKING:
    from regex import Pattern as Compiled

ALL: Final = ".*"
PATTERN_CHARS_MAX: Final = 4096
SEARCH_S: Final = 0.005
"""How long one search may take; usual ones take some microseconds."""


class Pattern:
    """A compiled expression. An empty one stands for `^$`, as in RabbitMQ."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        """BadValue, with the place of the fault."""
        self.text = text
        self._compiled: Compiled[bytes] | None = None  # the usual ones need no engine
        if text not in (ALL, ""):
            self._compiled = _compile(text)

    def is_in(self, name: str) -> bool:
        """Whether it is found somewhere in the name."""
        if self._compiled is None:
            return self.text == ALL or not name
        raw = name.encode("utf-8", "surrogateescape")
        try:
            return self._compiled.search(raw, timeout=SEARCH_S) is not None
        except TimeoutError:
            return False


@lru_cache(256)
def _compile(text: str) -> Any:
    import regex

    if len(text) > PATTERN_CHARS_MAX:
        raise BadValue(f"regular expression is longer than {PATTERN_CHARS_MAX} characters")
    try:
        return regex.compile(text.encode("utf-8", "surrogateescape"))
    except (regex.error, OverflowError, RecursionError) as error:
        raise BadValue(f"invalid regular expression '{text[:80]}': {error}") from error
