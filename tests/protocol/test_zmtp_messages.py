"""Messages of several frames as messages of the broker, and results on their way back."""

from typing import Any

import pytest

from mansio.codec.amqp_properties import Properties
from mansio.core.routing import Route
from mansio.core.run import make_run
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.protocol.zmtp.messages import (
    PARTS,
    PARTS_MAX,
    body_and_parts,
    frames_of,
    make,
    make_plain,
    properties_of,
    split,
)
from mansio.protocol.zmtp.results import answer
from tests.protocol.talk import World

LETTERS = AmqpLetters(4096)
ROUTE = Route("", "q", ())


def test_one_frame_is_the_body_and_nothing_else() -> None:
    assert body_and_parts([b"hello"]) == (b"hello", {})
    assert body_and_parts([]) == (b"", {})


@pytest.mark.parametrize(
    "frames",
    [[b"one"], [b""], [b"one", b"two"], [b"", b"", b"x"], [b"a" * 9000, b"b"], [b"x"] * PARTS_MAX],
)
def test_frames_come_back_as_they_were(frames: list[bytes]) -> None:
    body, headers = body_and_parts(frames)
    run = make(body, Properties(headers=headers or None, delivery_mode=2), ROUTE, LETTERS)
    assert frames_of(run, 0) == frames
    assert b"".join(frames_of(run, 0)) == LETTERS.bodies(run, 0, 1)[0]


def test_messages_of_one_run_are_told_apart() -> None:
    queue: Any = World().broker.definitions.make_queue(1, "/", "q", True, False, None, {})
    messages = [[b"one"], [b"two", b"three"], [b""]]
    run = make_plain(messages, queue, LETTERS)
    assert (run.count, run.persistent) == (3, True)
    assert [frames_of(run, i) for i in range(3)] == messages
    assert properties_of(run, 1) == Properties(headers={PARTS: [3, 5]}, delivery_mode=2)


def test_rows_of_single_frames_have_no_headers() -> None:
    queue: Any = World().broker.definitions.make_queue(1, "/", "q", True, False, None, {})
    run = make_plain([[b"one"], [b"two"]], queue, LETTERS)
    assert properties_of(run, 0) == Properties(delivery_mode=2)
    assert [frames_of(run, i) for i in range(2)] == [[b"one"], [b"two"]]


@pytest.mark.parametrize(
    "sizes",
    [[], [4], [3, 3], [-1, 6], [True, 4], ["5"], "5", None, [5] + [0] * PARTS_MAX],
)
def test_sizes_that_are_not_those_of_the_body_count_for_nothing(sizes: Any) -> None:
    assert split(b"hello", sizes) == [b"hello"]


def test_a_body_that_speaks_of_parts_is_left_alone() -> None:
    run = make(b"x-zmq-parts", Properties(app_id=PARTS), ROUTE, LETTERS)
    assert frames_of(run, 0) == [b"x-zmq-parts"]


def test_broken_properties_are_none() -> None:
    broken = b"\x02\0\0\0\0\0\x10\0\x3c\0\0\0\0\0\0\0\0\0\x00\xff\xff\0\0\xce"
    run = make_run([broken], ROUTE, False)
    assert properties_of(run, 0) == Properties()


def test_an_answer_goes_where_the_request_says() -> None:
    world = World()
    caller, worker = world.client(), world.client()
    queue = world.broker.definitions.declare_reply_queue(caller.front.session, "t")
    session = worker.front.session
    assert session is not None
    request = Properties(reply_to=queue.name, correlation_id="7", delivery_mode=2)
    assert answer(world.broker, session, request, [b"one", b"two"])
    run = queue.ready[0].run
    assert frames_of(run, 0) == [b"one", b"two"]
    assert properties_of(run, 0).correlation_id == "7"
    assert run.persistent


def test_nobody_hears_an_answer_that_nobody_waits_for() -> None:
    world = World()
    session = world.client().front.session
    assert session is not None
    assert not answer(world.broker, session, Properties(), [b"x"])
    assert not answer(world.broker, session, Properties(reply_to="gone"), [b"x"])
