"""What REQ and DEALER peers may ask for, one verb a request, one reply for each; the frames behind the verb.

    PUT queue body [props [body …]]              200 id         the task is stored; id: its position in the queue
    CALL queue timeout_ms body [props [body …]]  200 body …     what a worker has made of it; 408, 500
    GET queue [wait_ms]                          200 tag redelivered body props [body …]; 204: nothing came in time
    NEXT queue [tag [result …]]                  the same; the task of the tag is done, however long the next one takes,
                                                 and with the 200 it is sure, as behind an ACK
    ACK tag [result …]                           200            it is done, and will not be delivered again
    NACK tag [requeue]                           200            1, or nothing: back to its queue; 0: rejected
    EXTEND tag ms                                200            so much time from now on before it goes back
    LEN queue                                    200 ready in-flight consumers
    PUB topic body …                             200            whoever has subscribed gets it
    PING                                         200 PONG

`props` are a JSON object, or an empty frame: see `json_values`. An empty queue is that of X-Queue, or of the broker's
settings; an empty timeout is the one of the settings. A body of several frames has the others behind its properties, so
what GET gives can be put elsewhere as it is. Results go to whoever waits for them, if anybody does.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mansio.core.limits import TIME_MAX_MS
from mansio.protocol.zmtp.json_values import parse_properties
from mansio.protocol.zmtp.replying import Reply
from mansio.protocol.zmtp.statuses import ILL_FORMED, Refused

if TYPE_CHECKING:
    from mansio.protocol.zmtp.answering import Answering

Verb = Callable[["Answering", Reply, list[bytes]], None]
"""Does what the frames behind the verb say. Refused, BrokerError, MustWait: nothing has changed."""


def _put(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 2, "PUT queue body [props [body …]]")
    properties = parse_properties(args[2] if len(args) > 2 else b"")
    role.putting.put(reply, args[0], [args[1], *args[3:]], properties)


def _call(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 3, "CALL queue timeout_ms body [props [body …]]")
    properties = parse_properties(args[3] if len(args) > 3 else b"")
    timeout_ms = milliseconds(args[1]) if args[1] else role.call_timeout_ms
    role.calls.call(reply, args[0], [args[2], *args[4:]], properties, timeout_ms)


def _get(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 1, "GET queue [wait_ms]", 3)
    role.leases.get(reply, args[0], milliseconds(args[1]) if len(args) > 1 and args[1] else 0)


def _next(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 1, "NEXT queue [tag [result …]]")
    role.leases.next(reply, args[0], tag_of(args[1]) if len(args) > 1 else "", args[2:])


def _ack(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 1, "ACK tag [result …]")
    role.leases.ack(reply, tag_of(args[0]), args[1:])


def _nack(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    usage = "NACK tag [0, or 1 to requeue it]"
    _count(args, 1, usage, 2)
    requeue = args[1] if len(args) > 1 else b"1"
    if requeue not in (b"", b"0", b"1"):
        raise Refused(ILL_FORMED, usage)
    role.leases.nack(reply, tag_of(args[0]), requeue != b"0")


def _extend(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 2, "EXTEND tag ms", 2)
    role.leases.extend(reply, tag_of(args[0]), milliseconds(args[1]))


def _len(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 1, "LEN queue", 1)
    role.tell_length(reply, args[0])


def _pub(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    _count(args, 2, "PUB topic body …")
    role.spread(args)
    reply.done()


def _ping(role: "Answering", reply: Reply, args: list[bytes]) -> None:
    reply.done(pong="PONG")


VERBS: Final[dict[bytes, Verb]] = {
    b"PUT": _put,
    b"CALL": _call,
    b"GET": _get,
    b"NEXT": _next,
    b"ACK": _ack,
    b"NACK": _nack,
    b"EXTEND": _extend,
    b"LEN": _len,
    b"PUB": _pub,
    b"PING": _ping,
}


def _count(args: list[bytes], least: int, usage: str, most: int = 1 << 30) -> None:
    if not least <= len(args) <= most:
        raise Refused(ILL_FORMED, usage)


def milliseconds(text: bytes) -> int:
    """A time in ms; Refused."""
    if text.isdigit() and len(text) < 16 and (value := int(text)) <= TIME_MAX_MS:
        return value
    raise Refused(ILL_FORMED, f"a time is a number of milliseconds, from 0 to {TIME_MAX_MS}")


def tag_of(text: bytes) -> str:
    """A tag as a text; what is none is known to nobody."""
    return text.decode("latin-1")
