"""The verbs as JSON objects, for who uses send_json and recv_json: {"op": "put", "queue": "q", "body": {"n": 1}}.

    put      queue, body, props                 {"status": 200, "id": 17}
    call     queue, body, props, timeout_ms     {"status": 200, "body": …}
    get      queue, wait_ms                     {"status": 200, "tag": …, "redelivered": false, "body": …, "props": {}}
    next     queue, tag, result, wait_ms        the same
    ack      tag, result                        {"status": 200}
    nack     tag, requeue                       {"status": 200}
    extend   tag, ms                            {"status": 200}
    len      queue                              {"status": 200, "ready": 3, "in_flight": 1, "consumers": 2}
    pub      topic, body                        {"status": 200}
    ping                                        {"status": 200, "pong": "PONG"}

How bodies and results are said: `json_values`. What is not there is as with the verbs; whatever else an object has is
refused, since it may be a slip of the pen.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.limits import TIME_MAX_MS
from mansio.protocol.zmtp.json_values import body_from, properties_from, shown
from mansio.protocol.zmtp.replying import Reply
from mansio.protocol.zmtp.statuses import ILL_FORMED, Refused

if TYPE_CHECKING:
    from mansio.protocol.zmtp.answering import Answering

Members = dict[str, Any]
_BODY: Final = ("body", "body_base64", "parts_base64")
_RESULT: Final = ("result", "result_base64", "parts_base64")


def perform(role: "Answering", reply: Reply, request: Members) -> None:
    """Does what an object with an "op" asks for. Refused, BrokerError, MustWait: nothing has changed."""
    op = request["op"]
    found = _OPS.get(op.lower()) if isinstance(op, str) else None
    if found is None:
        text = f"there is no op {shown(str(op))}; a task with such a member goes by PUT, or as the body of a put"
        raise Refused(ILL_FORMED, text)
    does, known = found
    for name in request:
        if name != "op" and name not in known:
            raise Refused(ILL_FORMED, f"{op} has no member {shown(name)}")
    does(role, reply, request)


def _put(role: "Answering", reply: Reply, request: Members) -> None:
    frames, properties = _message(request)
    role.putting.put(reply, _queue(request), frames, properties)


def _call(role: "Answering", reply: Reply, request: Members) -> None:
    frames, properties = _message(request)
    timeout_ms = _ms(request, "timeout_ms", role.call_timeout_ms)
    role.calls.call(reply, _queue(request), frames, properties, timeout_ms)


def _get(role: "Answering", reply: Reply, request: Members) -> None:
    role.leases.get(reply, _queue(request), _ms(request, "wait_ms", 0))


def _next(role: "Answering", reply: Reply, request: Members) -> None:
    result, content_type = body_from(request, "result")
    tag, wait_ms = _text(request, "tag"), _ms(request, "wait_ms", 0)
    role.leases.next(reply, _queue(request), tag, result, content_type, wait_ms)


def _ack(role: "Answering", reply: Reply, request: Members) -> None:
    result, content_type = body_from(request, "result")
    role.leases.ack(reply, _text(request, "tag"), result, content_type)


def _nack(role: "Answering", reply: Reply, request: Members) -> None:
    requeue = request.get("requeue", True)
    if requeue not in (True, False):
        raise Refused(ILL_FORMED, "requeue is true or false")
    role.leases.nack(reply, _text(request, "tag"), bool(requeue))


def _extend(role: "Answering", reply: Reply, request: Members) -> None:
    if "ms" not in request:
        raise Refused(ILL_FORMED, "ms says for how long")
    role.leases.extend(reply, _text(request, "tag"), _ms(request, "ms", 0))


def _len(role: "Answering", reply: Reply, request: Members) -> None:
    role.tell_length(reply, _queue(request))


def _pub(role: "Answering", reply: Reply, request: Members) -> None:
    frames, _ = body_from(request, "body")
    if not frames or "topic" not in request:
        raise Refused(ILL_FORMED, "pub has a topic and a body")
    role.spread([_text(request, "topic").encode("utf-8", "surrogateescape"), *frames])
    reply.done()


def _ping(role: "Answering", reply: Reply, request: Members) -> None:
    reply.done(pong="PONG")


_Op = tuple[Callable[["Answering", Reply, Members], None], tuple[str, ...]]
_OPS: Final[dict[str, _Op]] = {
    "put": (_put, ("queue", "props", *_BODY)),
    "call": (_call, ("queue", "props", "timeout_ms", *_BODY)),
    "get": (_get, ("queue", "wait_ms")),
    "next": (_next, ("queue", "tag", "wait_ms", *_RESULT)),
    "ack": (_ack, ("tag", *_RESULT)),
    "nack": (_nack, ("tag", "requeue")),
    "extend": (_extend, ("tag", "ms")),
    "len": (_len, ("queue",)),
    "pub": (_pub, ("topic", *_BODY)),
    "ping": (_ping, ()),
}


def _message(request: Members) -> tuple[list[bytes], Any]:
    frames, content_type = body_from(request, "body")
    if not frames:
        raise Refused(ILL_FORMED, "there is no body")
    properties = properties_from(request.get("props") or {})
    if properties.content_type is None:
        properties.content_type = content_type
    return frames, properties


def _queue(request: Members) -> bytes:
    return _text(request, "queue").encode("utf-8", "surrogateescape")


def _text(request: Members, name: str) -> str:
    value = request.get(name) or ""
    if not isinstance(value, str):
        raise Refused(ILL_FORMED, f"{name} is a text")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refused(ILL_FORMED, f"{name} has characters that are none") from None
    return value


def _ms(request: Members, name: str, default: int) -> int:
    value = request.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= TIME_MAX_MS:
        raise Refused(ILL_FORMED, f"{name} is a number of milliseconds, from 0 to {TIME_MAX_MS}")
    return value
