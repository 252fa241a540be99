"""What one client has subscribed to, and what it is told of that."""

from typing import TYPE_CHECKING, Final

from mansio.core.channels import CHANNEL, KINDS, SHARD, Kind
from mansio.protocol.resp.reply import Push

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

SUBSCRIPTIONS_MAX: Final = 65_536
"""Of one client, of all kinds."""
_ENTER: Final = (b"subscribe", b"psubscribe", b"ssubscribe")
_LEAVE: Final = (b"unsubscribe", b"punsubscribe", b"sunsubscribe")


class Subscriptions:
    """By kind; see `core.channels`."""

    def __init__(self, client: "RespConnection") -> None:
        self.names: tuple[dict[bytes, None], ...] = ({}, {}, {})
        self._client = client

    def count(self, kind: Kind) -> int:
        """What the client is told: channels and patterns count together, sharded channels alone."""
        if kind == SHARD:
            return len(self.names[SHARD])
        return len(self.names[CHANNEL]) + len(self.names[1])

    def enter(self, kind: Kind, name: bytes) -> Push:
        """One more: what the client is told."""
        if name not in self.names[kind]:
            self.names[kind][name] = None
            self._client.broker.channels.add(kind, name, self._client)
        return self._told(_ENTER[kind], kind, name)

    def leave(self, kind: Kind, names: list[bytes]) -> list[Push]:
        """These, or all of a kind if there are none: what the client is told of each, and also if there was nothing."""
        told = []
        for name in names or list(self.names[kind]):
            self._drop(kind, name)
            told.append(self._told(_LEAVE[kind], kind, name))
        return told or [self._told(_LEAVE[kind], kind, None)]

    def drop_all(self) -> None:
        """Without a word."""
        for kind in KINDS:
            for name in list(self.names[kind]):
                self._drop(kind, name)
        self._count()

    def _drop(self, kind: Kind, name: bytes) -> None:
        self.names[kind].pop(name, None)
        self._client.broker.channels.remove(kind, name, self._client)

    def _told(self, what: bytes, kind: Kind, name: bytes | None) -> Push:
        self._count()
        return Push([what, name, self.count(kind)])

    def _count(self) -> None:
        client = self._client
        client.subscriptions = sum(map(len, self.names))
        client.looked()
