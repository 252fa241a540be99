"""The replies to requests, in the three ways in which they are asked: exactly one for each.

    by a verb      ['PUT', 'q', 'body']        ['200', '17']              ['404', "no queue 'q' …"]
    a plain task   ['body']                    ['200 17']                 ["507 queue 'q' is full"]
                   ['{"n": 1}']                ['{"status": 200, "id": 17}']
    as JSON        ['{"op": "put", …}']        ['{"status": 200, "id": 17}']   …

The reply to a plain task has one frame: whoever calls `recv()` on a REQ gets all of it (of a reply with two frames the
second one would have to be read before the next `send`). Whoever sends JSON is answered in JSON. The answer
to a plain task that is a call is what the worker has said, frame by frame, without a status.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mansio.codec.amqp_properties import Properties
from mansio.protocol.zmtp.json_values import body_members, properties_json, property_members
from mansio.protocol.zmtp.messages import decoded
from mansio.protocol.zmtp.statuses import OK

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection


class Task(NamedTuple):
    """A message that a worker gets."""

    tag: str
    redelivered: bool
    frames: list[bytes]
    raw_properties: bytes


class Reply(Protocol):
    """Whoever has one says one of these, once."""

    def done(self, **values: Any) -> None:
        """200, and these: texts and numbers."""

    def failed(self, status: int, text: str = "") -> None:
        """Another status."""

    def answered(self, frames: Sequence[bytes], properties: Properties) -> None:
        """What a worker has said."""

    def given(self, task: Task) -> None:
        """Something to work on."""


class VerbReply:
    """For who asked by a verb: a status, and a frame for each value."""

    __slots__ = ("_connection", "_envelope")

    def __init__(self, connection: "ZmtpConnection", envelope: list[bytes]) -> None:
        self._connection = connection
        self._envelope = envelope

    def done(self, **values: Any) -> None:
        frames = [str(value).encode() for value in values.values()]
        self._connection.send([*self._envelope, b"200", *frames])

    def failed(self, status: int, text: str = "") -> None:
        self._connection.send([*self._envelope, b"%d" % status, *words(text)])

    def answered(self, frames: Sequence[bytes], properties: Properties) -> None:
        self._connection.send([*self._envelope, b"200", *frames])

    def given(self, task: Task) -> None:
        first, *others = task.frames
        redelivered = b"1" if task.redelivered else b"0"
        head = [b"200", task.tag.encode(), redelivered, first, properties_json(task.raw_properties)]
        self._connection.send([*self._envelope, *head, *others])


class TaskReply:
    """For who sent a plain task: one frame, or what the worker has said."""

    __slots__ = ("_connection", "_envelope")

    def __init__(self, connection: "ZmtpConnection", envelope: list[bytes]) -> None:
        self._connection = connection
        self._envelope = envelope

    def done(self, **values: Any) -> None:
        self._say(OK, " ".join(str(value) for value in values.values()))

    def failed(self, status: int, text: str = "") -> None:
        self._say(status, text)

    def _say(self, status: int, text: str) -> None:
        self._connection.send([*self._envelope, b" ".join([b"%d" % status, *words(text)])])

    def answered(self, frames: Sequence[bytes], properties: Properties) -> None:
        self._connection.send([*self._envelope, *frames])

    def given(self, task: Task) -> None:
        raise NotImplementedError("a task asks for no work")


class JsonTaskReply(TaskReply):
    """The same for a task that is a JSON text."""

    __slots__ = ()

    def done(self, **values: Any) -> None:
        self._connection.send([*self._envelope, encode({"status": OK, **values})])

    def _say(self, status: int, text: str) -> None:
        about = {"status": status, "text": text} if text else {"status": status}
        self._connection.send([*self._envelope, encode(about)])


class JsonReply(JsonTaskReply):
    """For who asked by an object with an "op"."""

    __slots__ = ()

    def answered(self, frames: Sequence[bytes], properties: Properties) -> None:
        self.done(**body_members(frames, properties.content_type))

    def given(self, task: Task) -> None:
        properties = decoded(task.raw_properties)
        body = body_members(task.frames, properties.content_type)
        about = property_members(properties)
        self.done(tag=task.tag, redelivered=task.redelivered, **body, props=about)


def words(text: str) -> list[bytes]:
    """A text as a frame; none if there is none."""
    return [text.encode("utf-8", "backslashreplace")] if text else []


def encode(value: Any) -> bytes:
    """A JSON text."""
    return json.dumps(value).encode()
