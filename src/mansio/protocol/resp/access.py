"""What a command needs before it changes anything: the right to its keys, and room for what it adds."""

from typing import TYPE_CHECKING

from mansio.core.keyspace import Keyspace
from mansio.protocol.resp.arguments import name_of
from mansio.protocol.resp.errors import DISK_FULL, OUT_OF_MEMORY, CommandError, MustWait

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection


def readable(client: "RespConnection", key: bytes) -> Keyspace:
    """The keyspace, once the client may read the key; AccessRefused."""
    rights = client.rights
    if not rights.everything:
        rights.check_read("queue", name_of(key))
    return client.keys


def writable(client: "RespConnection", key: bytes) -> Keyspace:
    """The keyspace, once the client may write the key; AccessRefused."""
    rights = client.rights
    if not rights.everything:
        rights.check_write("queue", name_of(key))
    return client.keys


def configurable(client: "RespConnection", key: bytes) -> Keyspace:
    """The keyspace, once the client may take the key away or change its name; AccessRefused. Strings are no resources:
    who may write them may do that."""
    rights = client.rights
    if not rights.everything:
        if key in client.keys.strings:
            rights.check_write("queue", name_of(key))
        else:
            rights.check_configure("queue", name_of(key))
    return client.keys


def check_room(client: "RespConnection", size: int) -> None:
    """Whether there is room for so many bytes more: else CommandError, or MustWait where the log is only busy. In a
    transaction the room for all of it was looked at before."""
    broker = client.broker
    if broker.low_on_memory:
        raise CommandError(OUT_OF_MEMORY)
    journal = broker.journal
    if size > journal.room_bytes:
        if broker.low_on_disk:
            raise CommandError(DISK_FULL)
        if not client.executing:
            journal.waiters[client] = None
            raise MustWait
    client.keys.items.reserve(size)
