"""Keys that a client watches: a transaction is not executed when one of them has changed."""

from mansio.core.keyspace import Fingerprint, Keyspace


class Watched:
    """Keys that a client watches, as they were when it began to."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[tuple[Keyspace, bytes], Fingerprint] = {}

    def add(self, keys: Keyspace, key: bytes) -> None:
        """One more, unless it is watched already."""
        if (keys, key) not in self._keys:
            keys.watch(key)
            self._keys[keys, key] = keys.fingerprint(key)

    def changed(self) -> bool:
        """Whether one of them is not as it was."""
        return any(keys.fingerprint(key) != was for (keys, key), was in self._keys.items())

    def clear(self) -> None:
        """None is watched any more."""
        for keys, key in self._keys:
            keys.unwatch(key)
        self._keys.clear()
