"""Publish and subscribe: SUBSCRIBE, PUBLISH, PUBSUB, by name, by pattern and sharded.

Channels are the same in all databases. The name of a channel is checked like that of a queue: SUBSCRIBE needs the
permission to read, PUBLISH to write. PSUBSCRIBE needs the permission to read for the pattern as it is written, and
gets only messages of channels that its user may read. A message reaches who may read its channel in the virtual host
where it was published.
"""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.channels import CHANNEL, PATTERN, SHARD, Kind
from mansio.core.errors import AccessRefused
from mansio.core.globs import glob
from mansio.core.rights import EVERYTHING
from mansio.protocol.resp.arguments import name_of
from mansio.protocol.resp.command import SUBSCRIBED, Command, Handler, container
from mansio.protocol.resp.errors import NO_PERMISSION, CommandError, wrong_subcommand
from mansio.protocol.resp.reply import NO_REPLY, Push, Raw, encode
from mansio.protocol.resp.subscriptions import SUBSCRIPTIONS_MAX

if TYPE_CHECKING:
    from mansio.core.rights import Rights
    from mansio.protocol.resp.connection import RespConnection

ROW_BYTES: Final = 65_536
"""Of messages that are alike and leave together."""


def _subscriber(kind: Kind) -> Handler:
    def subscribe(client: "RespConnection", args: list[bytes]) -> Any:
        """SUBSCRIBE channel [channel ...], PSUBSCRIBE, SSUBSCRIBE"""
        rights = _rights(client)
        for name in args[1:]:
            rights.check_read("channel", name_of(name))
        if client.subscriptions + len(args) > SUBSCRIPTIONS_MAX:
            raise CommandError(f"ERR a client has at most {SUBSCRIPTIONS_MAX} subscriptions")
        return _tell(client, [client.topics.enter(kind, name) for name in args[1:]])

    return subscribe


def _unsubscriber(kind: Kind) -> Handler:
    def unsubscribe(client: "RespConnection", args: list[bytes]) -> Any:
        """UNSUBSCRIBE [channel ...], PUNSUBSCRIBE, SUNSUBSCRIBE"""
        return _tell(client, client.topics.leave(kind, args[1:]))

    return unsubscribe


def _tell(client: "RespConnection", told: list[Push]) -> Any:
    """As pushes these are heard also where CLIENT REPLY has switched replies off."""
    data = b"".join([encode(each, client.proto) for each in told])
    if client.mute:
        client.push(data)
        return NO_REPLY
    return Raw(data)


def _rights(client: "RespConnection") -> "Rights":
    if client.session is None:
        raise CommandError(NO_PERMISSION)
    return client.session.rights


def publish(client: "RespConnection", args: list[bytes]) -> Any:
    """PUBLISH channel message"""
    return _publish(client, args, b"message", shard=False)[0]


def spublish(client: "RespConnection", args: list[bytes]) -> Any:
    """SPUBLISH shardchannel message"""
    return _publish(client, args, b"smessage", shard=True)[0]


def publish_rows(
    client: "RespConnection",
    args: list[bytes],
    times: int,
    values: list[bytes] | None,
    counts: list[int] | None,
) -> tuple[bytes, int]:
    """The same message several times in a row."""
    told, done = _publish(client, args, b"message", False, times)
    return b":%d\r\n" % told * done, done


def _publish(
    client: "RespConnection", args: list[bytes], what: bytes, shard: bool, times: int = 1
) -> tuple[int, int]:
    """How many clients have it, and how often: up to `times`, and once where they would see that it was said in a row.
    It is encoded once for all who speak the same version."""
    channel, message = args[1], args[2]
    rights = _rights(client)
    name = name_of(channel)
    rights.check_write("channel", name)
    told = 0
    groups = list(client.broker.channels.find(channel, shard))
    done = min(times, max(ROW_BYTES // (len(message) + 1), 1))
    if len(groups) > 1 or (groups and client in groups[0][1]):
        done = 1  # one by one: a message, then what a pattern makes of it, then the reply
    for pattern, listeners in groups:
        items = [what, channel, message]
        if pattern is not None:
            items = [b"pmessage", pattern, channel, message]
        push, sign = encode(Push(items), 3), b"*"
        data = ((sign + push[1:]) * done, push * done)
        for listener in listeners:
            if _may_read(listener, rights.vhost, name):
                listener.push(data[listener.proto == 3])
                told += 1
    return told, done


def _may_read(listener: "RespConnection", vhost: str, name: str) -> bool:
    session = listener.session
    if session is None:
        return False
    rights = session.rights
    if rights.vhost != vhost:
        rights = listener.broker.users.rights(listener.user, vhost)
    if rights.permission == EVERYTHING:
        return True
    try:
        rights.check_read("channel", name)
    except AccessRefused:
        return False
    return True


def _names(kind: Kind) -> Handler:
    def names(client: "RespConnection", args: list[bytes]) -> Any:
        """PUBSUB CHANNELS [pattern], PUBSUB SHARDCHANNELS [pattern]"""
        if len(args) > 3:
            raise wrong_subcommand(args)
        found = client.broker.channels.names(kind)
        if len(args) > 2:
            wanted = glob(args[2])
            found = [name for name in found if wanted.matches(name)]
        return found

    return names


def _counts(kind: Kind) -> Handler:
    def counts(client: "RespConnection", args: list[bytes]) -> Any:
        """PUBSUB NUMSUB [channel ...], PUBSUB SHARDNUMSUB [shardchannel ...]"""
        channels = client.broker.channels
        return [each for name in args[2:] for each in (name, channels.count(kind, name))]

    return counts


def count_patterns(client: "RespConnection", args: list[bytes]) -> Any:
    """PUBSUB NUMPAT"""
    return len(client.broker.channels.names(PATTERN))


_PUBSUB: Final = [
    Command("pubsub|channels", _names(CHANNEL), -2),
    Command("pubsub|numsub", _counts(CHANNEL), -2),
    Command("pubsub|numpat", count_patterns, 2),
    Command("pubsub|shardchannels", _names(SHARD), -2),
    Command("pubsub|shardnumsub", _counts(SHARD), -2),
]

COMMANDS: Final = [
    Command("subscribe", _subscriber(CHANNEL), -2, SUBSCRIBED),
    Command("psubscribe", _subscriber(PATTERN), -2, SUBSCRIBED),
    Command("ssubscribe", _subscriber(SHARD), -2, SUBSCRIBED, 1, -1, 1),
    Command("unsubscribe", _unsubscriber(CHANNEL), -1, SUBSCRIBED),
    Command("punsubscribe", _unsubscriber(PATTERN), -1, SUBSCRIBED),
    Command("sunsubscribe", _unsubscriber(SHARD), -1, SUBSCRIBED, 1, -1, 1),
    Command("publish", publish, 3, rows=publish_rows),
    Command("spublish", spublish, 3, 0, 1, 1, 1),
    container("pubsub", _PUBSUB),
]
