"""Redis clients that wait for entries of streams, in the order in which they came.

wait ──► entries come, over whichever protocol ─┐
     ├─► the stream is deleted, or renamed      ├─► stirred ──behind the command, or at the end of the turn──► serve
     └─► a stream gets this name, a group goes ─┘

What counts is what the key is by then: whoever deletes a stream and makes another one in a transaction disturbs nobody.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.stream import Stream


class Watcher(Protocol):
    """Who waits. It leaves when it has been answered."""

    def serve(self, stream: "Stream") -> None:
        """Something has happened to a stream that it waits for."""

    def gone(self) -> None:
        """A key that it waits for is not a stream any more."""


Key = tuple[str, str]
"""Virtual host and name of a stream, whether it is there or not."""


class Watching:
    """All that wait, by what they wait for."""

    def __init__(self, broker: "Broker") -> None:
        self.stirred: dict[Key, None] = {}
        """What `serve` has to look at, in order."""
        self._broker = broker
        self._watchers: dict[Key, dict[Watcher, None]] = {}

    def wait(self, keys: list[Key], watcher: Watcher) -> None:
        """From now on it is told of these."""
        for key in keys:
            watchers = self._watchers.setdefault(key, {})
            watchers[watcher] = None
            stream = self._broker.streams.named(*key)
            if stream is not None:
                stream.watchers = watchers

    def leave(self, keys: list[Key], watcher: Watcher) -> None:
        """It does not wait any more."""
        for key in keys:
            watchers = self._watchers.get(key)
            if watchers is None:
                continue
            watchers.pop(watcher, None)
            if not watchers:
                del self._watchers[key]
                stream = self._broker.streams.named(*key)
                if stream is not None:
                    stream.watchers = None

    def made(self, stream: "Stream") -> None:
        """There is a stream of this name, for which somebody may have waited."""
        if self._watchers:
            stream.watchers = self._watchers.get((stream.vhost, stream.name))
            self.stir(stream)

    def stir(self, stream: "Stream") -> None:
        """Something has come into a stream, or may be read by now; or one of its groups is gone."""
        if stream.watchers is not None:
            self.stirred[stream.vhost, stream.name] = None
            self._broker.streams.entries.unwritten = True

    def gone(self, stream: "Stream") -> None:
        """It is deleted, or gets another name."""
        self.stir(stream)
        stream.watchers = None

    def serve(self) -> None:
        """The turn, or a command, ends: those who wait get what has come."""
        stirred = self.stirred
        while stirred:
            key = next(iter(stirred))
            del stirred[key]
            for watcher in list(self._watchers.get(key, ())):
                stream = self._broker.streams.named(*key)
                if stream is None:
                    watcher.gone()
                else:
                    watcher.serve(stream)
