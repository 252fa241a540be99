"""ZeroMQ messages, which are lists of frames, as messages of the broker, which have one body, and back.

    [body]              ──►  the body, nothing else
    [one, two, three]   ──►  onetwothree, with the header x-zmq-parts: [3, 3, 5]

So clients of every protocol see the bytes, and a ZeroMQ client finds its frames again.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from mansio.codec.amqp_content import FRAME_HEAD_BYTES, content_frames
from mansio.codec.amqp_content import properties_of as raw_properties_of
from mansio.codec.amqp_properties import Properties, decode_properties
from mansio.codec.amqp_values import CodecError, Table, Value
from mansio.codec.resp import bodies
from mansio.core.letters import Letters
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.core.run import Run, make_run

PARTS: Final = "x-zmq-parts"
"""The header with the sizes of the frames, where there is not just one."""
PARTS_MAX: Final = 512
"""Frames of one message. Their sizes are in its header, which AMQP clients must be able to take in one frame of 4096
bytes; more are refused with 413."""

_PARTS: Final = PARTS.encode()
_PERSISTENT: Final = 2


def body_and_parts(frames: Sequence[bytes]) -> tuple[bytes, Table]:
    """The body of a message, and the headers that it needs beside others: none for one frame, or none at all."""
    if len(frames) == 1:
        return frames[0], {}
    if not frames:
        return b"", {}
    sizes: list[Value] = [len(each) for each in frames]
    return b"".join(frames), {PARTS: sizes}


def make(body: bytes, properties: Properties, route: Route, letters: Letters) -> Run:
    """One message as a run. `route`: of the default exchange, without a publish method frame; persistent if
    delivery_mode is 2. Expiration, priority and marks of the run are the caller's. ValueError and TypeError for
    properties that AMQP cannot say."""
    route.frame_max = letters.frame_max
    frames = content_frames(body, properties, 0, letters.frame_max)
    return make_run([frames], route, properties.delivery_mode == _PERSISTENT)


def make_plain(messages: Sequence[Sequence[bytes]], queue: Queue, letters: Letters) -> Run:
    """Messages, at least one, without properties of their own and persistent, as one run for this queue."""
    route = Route("", queue.name, (queue,))
    if all(len(frames) == 1 for frames in messages):
        return letters.contents([frames[0] for frames in messages], route)
    route.frame_max = letters.frame_max
    return make_run([_plain(frames, letters.frame_max) for frames in messages], route, True)


def _plain(frames: Sequence[bytes], frame_max: int) -> bytes:
    body, headers = body_and_parts(frames)
    properties = Properties(headers=headers or None, delivery_mode=_PERSISTENT)
    return content_frames(body, properties, 0, frame_max)


def frames_of(run: Run, i: int) -> list[bytes]:
    """The frames of message `i`: one, unless it came as several. The run must not be paged out."""
    skips = tuple([route.skip for route in run.routes])
    body = bodies(run.data, run.stride, run.ends, skips, run.which, i, i + 1)[0]
    start = run.bounds(i)[0] + run.route(i).skip
    payload = start + FRAME_HEAD_BYTES
    stop = payload + int.from_bytes(run.data[start + 3 : payload], "big")
    if run.data.find(_PARTS, payload, stop) < 0:
        return [body]
    return split(body, (properties_of(run, i).headers or {}).get(PARTS))


def split(body: bytes, sizes: Value) -> list[bytes]:
    """A body in frames of these sizes; in one, where they are no sizes of its parts: anybody can write the header."""
    if not isinstance(sizes, list) or not 0 < len(sizes) <= PARTS_MAX:
        return [body]
    at = 0
    ends = [at]
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            return [body]
        at += size
        ends.append(at)
    if at != len(body):
        return [body]
    return [body[start:stop] for start, stop in pairwise(ends)]


def properties_of(run: Run, i: int) -> Properties:
    """The properties of message `i`; none at all where they are malformed. The run must not be paged out."""
    return decoded(raw_properties(run, i))


def raw_properties(run: Run, i: int) -> bytes:
    """The same as bytes: flag word and fields."""
    return raw_properties_of(run.data, run.bounds(i)[0] + run.route(i).skip)


def decoded(raw: bytes) -> Properties:
    """Properties from their bytes; none at all where they are malformed."""
    try:
        return decode_properties(raw, 0, len(raw))
    except CodecError:
        return Properties()
