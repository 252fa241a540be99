"""The types of exchange, by name: the standard ones (specification 3.1.3), those of RabbitMQ's plugins, and ours."""

from collections.abc import Callable
from typing import Final

from mansio.core.choosers import (
    ConsistentHashChooser,
    LocalRandomChooser,
    ModulusChooser,
    RandomChooser,
)
from mansio.core.content_matcher import ContentMatcher
from mansio.core.errors import InvalidCommand, PreconditionFailed
from mansio.core.field_values import Arguments
from mansio.core.matchers import (
    DirectMatcher,
    FanoutMatcher,
    HeadersMatcher,
    HistoryMatcher,
    TopicMatcher,
)
from mansio.core.matching import Matcher, Means

MATCHERS: Final[dict[str, Callable[[Arguments, Means], Matcher]]] = {
    "direct": DirectMatcher,
    "fanout": FanoutMatcher,
    "topic": TopicMatcher,
    "headers": HeadersMatcher,
    "x-consistent-hash": ConsistentHashChooser,
    "x-content": ContentMatcher,
    "x-local-random": LocalRandomChooser,
    "x-modulus-hash": ModulusChooser,
    "x-random": RandomChooser,
    "x-recent-history": HistoryMatcher,
}


def _delayed(arguments: Arguments, means: Means) -> Matcher:
    """`x-delayed-message`: any exchange delays messages, so it is what `x-delayed-type` says (texts of the plugin's
    version 3.10)."""
    kind = arguments.get("x-delayed-type")
    if kind == DELAYED_MESSAGE:
        text = "'x-delayed-message' can't be used for 'x-delayed-type'"
        raise PreconditionFailed(f"Invalid argument, {text}")
    if kind not in MATCHERS or kind == "x-recent-history":
        text = "'x-delayed-type' must be an existing exchange type"
        raise PreconditionFailed(f"Invalid argument, {text}")
    return MATCHERS[kind](arguments, means)


DELAYED_MESSAGE: Final = "x-delayed-message"
MATCHERS[DELAYED_MESSAGE] = _delayed
EXCHANGE_TYPES: Final = tuple(MATCHERS)


def check_exchange_type(type: str) -> None:
    """Whether there are exchanges of this type; InvalidCommand."""
    if type not in MATCHERS:
        raise InvalidCommand(f"invalid exchange type '{type}'")
