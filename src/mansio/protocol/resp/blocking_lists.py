"""Commands that wait until something is in a list: BLPOP, BRPOP, BLMOVE, BRPOPLPUSH, BLMPOP.

What is there is popped at once, as by the commands that do not wait. Otherwise the client joins the lines of its keys,
see `core.waiters`; a queue is made for each of them that there is none for, if the client may, so that AMQP clients can
publish to it meanwhile. What was popped and has not left when the connection ends goes back to where it was.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mansio.core.errors import BrokerError
from mansio.core.queue import Queue
from mansio.core.vacancy import declare_list
from mansio.core.waiters import Waiter
from mansio.protocol.resp.arguments import key_of, name_of
from mansio.protocol.resp.command import BLOCKING, WRITE, Command, Handler
from mansio.protocol.resp.errors import (
    DISK_FULL,
    OUT_OF_MEMORY,
    CommandError,
    refusal,
)
from mansio.protocol.resp.list_access import bulk, changed, load_end, look_up, recall, target
from mansio.protocol.resp.list_ends import move, prepare_move, prepare_several, several, side
from mansio.protocol.resp.patience import until_ms
from mansio.protocol.resp.reply import NO_REPLY, NULL_ARRAY, Raw

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

Serve = Callable[[Queue], Any]
"""Takes what the client wants of a queue in which something is: the reply, NO_REPLY if that has to be read first."""


class Blocked:
    """A client whose command waits in the lines of lists, until `serve` has a reply for it."""

    __slots__ = ("_client", "_serve", "_waiter")

    def __init__(self, client: "RespConnection", keys: Sequence[bytes], serve: Serve) -> None:
        session = client.session
        assert session is not None
        self._client = client
        self._serve = serve
        self._waiter = Waiter(session, [name_of(key) for key in keys], self)

    def wait(self, when_ms: int) -> Any:
        """Until something comes, or until then."""
        client = self._client
        client.broker.waiting_lists.join(self._waiter)
        client.block(self.cancel)
        client.patience.begin(when_ms, self._late)
        return NO_REPLY

    def serve(self, queue: Queue) -> bool:
        """See `Server`."""
        client = self._client
        try:
            reply = self._serve(queue)
        except (CommandError, BrokerError) as error:
            reply = error if isinstance(error, CommandError) else refusal(error)
        if reply is NO_REPLY:
            return False
        client.patience.end()
        client.wait_for_log(WRITE)
        client.unblock_with(reply)
        return True

    def cancel(self) -> None:
        """The client is gone, or somebody else answers it."""
        self._client.patience.end()
        self._client.broker.waiting_lists.leave(self._waiter)

    def _late(self) -> None:
        self._client.broker.waiting_lists.leave(self._waiter)
        self._client.unblock_with(NULL_ARRAY)


def wait(
    client: "RespConnection", keys: Sequence[bytes], when_ms: int, left: bool, serve: Serve
) -> Any:
    """The client waits at these keys, none of which has anything. `left`: where what comes is popped."""
    broker, session = client.broker, client.session
    assert session is not None
    queues = broker.vhosts[session.vhost].queues
    for name in map(name_of, keys):
        if name not in queues:
            try:
                declare_list(broker, session, name, left)
            except BrokerError:
                continue  # it waits for what others make
    return Blocked(client, keys, serve).wait(when_ms)


# -- popping


def _pop(client: "RespConnection", left: bool, count: int, several: bool, queue: Queue) -> Any:
    """Takes what is in memory of up to so many elements; if the connection ends before the reply has left, they go
    back."""
    lists = client.broker.lists
    count = lists.at_hand(queue, left, min(count, queue.ready_count))
    if not count:
        return NO_REPLY
    taken = lists.take(queue, left, count)
    key = key_of(queue.name)
    changed(client, key, queue)
    if not client.executing:
        take_back = partial(lists.hand_back, queue.vhost, queue.name, left, taken)
        client.hand_over(take_back, 1)
    bodies = bulk(taken, queue.head_left is not left)
    items = b"*%d\r\n%b" % (count, bodies) if several else bodies
    return Raw(b"*2\r\n$%d\r\n%b\r\n%b" % (len(key), key, items))


def _pop_or_wait(
    client: "RespConnection",
    args: list[bytes],
    keys: list[bytes],
    when_ms: int,
    left: bool,
    count: int,
    several: bool,
) -> Any:
    for key in keys:
        queue = look_up(client, key)
        if queue is None:
            continue
        first = client.broker.lists.look(queue, left, 1)[0].run
        if not first.data:
            recall(client, args).ask([first])
        return _pop(client, left, count, several, queue)
    if client.executing:
        return NULL_ARRAY
    return wait(client, keys, when_ms, left, partial(_pop, client, left, count, several))


def _bpop(left: bool) -> Callable[["RespConnection", list[bytes]], Any]:
    def bpop(client: "RespConnection", args: list[bytes]) -> Any:
        """BLPOP key [key ...] timeout, BRPOP"""
        when_ms = until_ms(args[-1], client.broker.now_ms)
        return _pop_or_wait(client, args, args[1:-1], when_ms, left, 1, False)

    return bpop


def blmpop(client: "RespConnection", args: list[bytes]) -> Any:
    """BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]"""
    keys, left, count = several(args, 2)
    when_ms = until_ms(args[1], client.broker.now_ms)
    return _pop_or_wait(client, args, keys, when_ms, left, count, True)


# -- from one list to another


def blmove(client: "RespConnection", args: list[bytes]) -> Any:
    """BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout"""
    return _move_or_wait(client, args, side(args[3]), side(args[4]))


def brpoplpush(client: "RespConnection", args: list[bytes]) -> Any:
    """BRPOPLPUSH source destination timeout"""
    return _move_or_wait(client, args, False, True)


def _move_or_wait(
    client: "RespConnection", args: list[bytes], from_left: bool, to_left: bool
) -> Any:
    when_ms = until_ms(args[-1], client.broker.now_ms)
    if look_up(client, args[1]) is not None or client.executing:
        return move(client, args, from_left, to_left)
    serve = partial(_moved, client, args, from_left, to_left)
    return wait(client, args[1:2], when_ms, from_left, serve)


def _moved(
    client: "RespConnection", args: list[bytes], from_left: bool, to_left: bool, source: Queue
) -> Any:
    broker = client.broker
    if not broker.lists.at_hand(source, from_left, 1):
        return NO_REPLY
    if broker.low_on_memory:
        raise CommandError(OUT_OF_MEMORY)
    if broker.low_on_disk:
        raise CommandError(DISK_FULL)
    queue = target(client, args[2], not to_left)
    memory = recall(client, args)
    value = broker.lists.move(source, from_left, queue, to_left, client.channel, memory)
    changed(client, args[1], source)
    return value


def _prepare(left: bool) -> Handler:
    def prepare(client: "RespConnection", args: list[bytes]) -> Any:
        """What the command takes is to be in memory."""
        for key in args[1:-1]:
            load_end(client, key, left)

    return prepare


_FLAGS: Final = WRITE | BLOCKING

COMMANDS: Final = [
    Command("blpop", _bpop(True), -3, _FLAGS, 1, -2, 1, _prepare(True)),
    Command("brpop", _bpop(False), -3, _FLAGS, 1, -2, 1, _prepare(False)),
    Command("blmove", blmove, 6, _FLAGS, 1, 2, 1, prepare_move),
    Command("brpoplpush", brpoplpush, 4, _FLAGS, 1, 2, 1, prepare_move),
    Command("blmpop", blmpop, -5, _FLAGS, prepare=prepare_several(2)),
]
