"""Commands beyond Redis: a worker reserves an element of a list, and says later what became of it.

    MANSIO.RESERVE queue [timeout]              [id, body], null when there is nothing; waits as BRPOP does
    MANSIO.ACK id [id ...]                      done: how many of these were reserved
    MANSIO.NACK id [REQUEUE|REJECT] [id ...]    back to its place, or to the queue's dead-letter exchange: how many
    MANSIO.EXTEND id seconds                    it will take longer: 1, or 0 if it is not reserved any more

What is reserved goes back when the connection that has reserved it ends, or with the queue's acknowledgement timeout.
An id holds on all connections of the same user in the same database: clients have pools.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mansio.core.queue import Queue
from mansio.core.session import Outcome
from mansio.protocol.resp.arguments import real
from mansio.protocol.resp.blocking_lists import wait
from mansio.protocol.resp.command import BLOCKING, WRITE, Command
from mansio.protocol.resp.errors import NOT_A_FLOAT, CommandError
from mansio.protocol.resp.list_access import changed, look_up, recall
from mansio.protocol.resp.patience import until_ms
from mansio.protocol.resp.reply import NO_REPLY, NULL_ARRAY

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

SECONDS_MAX: Final = 1 << 32
"""That EXTEND takes: more than a century."""


def reserve(client: "RespConnection", args: list[bytes]) -> Any:
    """MANSIO.RESERVE queue [timeout]"""
    if len(args) > 3:
        raise CommandError("ERR wrong number of arguments for 'mansio.reserve' command")
    when_ms = until_ms(args[2], client.broker.now_ms) if len(args) == 3 else 0
    queue = look_up(client, args[1])
    if queue is None:
        if len(args) == 2 or client.executing:
            return NULL_ARRAY
        return wait(client, args[1:2], when_ms, False, partial(_take, client))
    reply = _take(client, queue)
    if reply is NO_REPLY:
        recall(client, args).ask([queue.ready[0].run])
    return reply


def _take(client: "RespConnection", queue: Queue) -> Any:
    """Reserves the first element of a list that is not empty; NO_REPLY if it has to be read first."""
    broker, channel = client.broker, client.channel
    assert channel is not None
    if not broker.lists.at_hand(queue, queue.head_left, 1):
        return NO_REPLY
    found = broker.reserving.reserve(channel, queue)
    if found is None:
        return NO_REPLY
    changed(client, queue.name.encode("utf-8", "surrogateescape"), queue)
    id, got = found
    return [id.encode(), broker.letters.bodies(got.run, got.i, got.i + 1)[0]]


def ack(client: "RespConnection", args: list[bytes]) -> Any:
    """MANSIO.ACK id [id ...]"""
    return sum(_settle(client, id, Outcome.ACCEPT) for id in args[1:])


def nack(client: "RespConnection", args: list[bytes]) -> Any:
    """MANSIO.NACK id [REQUEUE|REJECT] [id [REQUEUE|REJECT] ...]"""
    asked: list[tuple[bytes, Outcome]] = []
    for word in args[1:]:
        outcome = _OUTCOMES.get(word.upper())
        if outcome is None:
            asked.append((word, Outcome.REQUEUE))
        elif asked:
            asked[-1] = (asked[-1][0], outcome)
        else:
            raise CommandError("ERR syntax error")
    return sum(_settle(client, id, outcome) for id, outcome in asked)


_OUTCOMES: Final = {b"REQUEUE": Outcome.REQUEUE, b"REJECT": Outcome.REJECT}


def _settle(client: "RespConnection", id: bytes, outcome: Outcome) -> bool:
    assert client.session is not None
    return client.broker.reserving.settle(client.session, id.decode("latin-1"), outcome)


def extend(client: "RespConnection", args: list[bytes]) -> Any:
    """MANSIO.EXTEND id seconds"""
    seconds = real(args[2])
    if not 0 <= seconds <= SECONDS_MAX:
        raise CommandError(NOT_A_FLOAT)
    assert client.session is not None
    broker = client.broker
    until = broker.now_ms + int(seconds * 1000)
    return int(broker.reserving.extend(client.session, args[1].decode("latin-1"), until))


COMMANDS: Final = [
    Command("mansio.reserve", reserve, -2, WRITE | BLOCKING, 1, 1, 1),
    Command("mansio.ack", ack, -2, WRITE),
    Command("mansio.nack", nack, -2, WRITE),
    Command("mansio.extend", extend, 3, WRITE),
]
