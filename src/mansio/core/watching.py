"""Redis clients that wait for entries of streams, in the order in which they came.

wait ──► entries come, over whichever protocol ──at the end of the turn──► serve, each in turn
     └─► the stream is deleted, or the group                       ──────► gone
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.stream import Stream


class Watcher(Protocol):
    """Who waits. It leaves when it has been answered."""

    def serve(self, stream: "Stream") -> None:
        """Something has come into a stream that it waits for."""

    def gone(self, stream: "Stream") -> None:
        """A stream is deleted that it waits for."""

    def group_gone(self, group: bytes) -> None:
        """A group of a stream that it waits for is no more."""


Key = tuple[str, str]
"""Virtual host and name of a stream, whether it is there or not."""


class Watching:
    """All that wait, by what they wait for."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._watchers: dict[Key, dict[Watcher, None]] = {}
        self._stirred: dict[Stream, None] = {}

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
            if stream.watchers and stream.ready_count:
                self.stir(stream)

    def stir(self, stream: "Stream") -> None:
        """Something has come into a stream that is watched, or may be read by now."""
        self._stirred[stream] = None
        self._broker.streams.entries.unwritten = True

    def serve(self) -> None:
        """The turn, or a command, ends: those who wait get what has come."""
        while self._stirred:
            stirred, self._stirred = self._stirred, {}
            for stream in stirred:
                for watcher in list(stream.watchers or ()):
                    if not stream.deleted:
                        watcher.serve(stream)

    def gone(self, stream: "Stream") -> None:
        """It is deleted."""
        self._stirred.pop(stream, None)
        for watcher in list(stream.watchers or ()):
            watcher.gone(stream)

    def group_gone(self, stream: "Stream", group: bytes) -> None:
        """One of its groups is no more."""
        for watcher in list(stream.watchers or ()):
            watcher.group_gone(group)
