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
EXCHANGE_TYPES: Final = tuple(MATCHERS)
