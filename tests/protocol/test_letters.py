"""Letters: what the broker writes into AMQP messages, as RabbitMQ 3.10.8 does."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, decode_properties, encode_header_payload
from mansio.codec.amqp_values import Long, Table, Timestamp
from mansio.core.letters import Death, Letter
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.protocol.amqp.letters import AmqpLetters

TIME_S = 1_700_000_000


def frames_of(properties: Properties, body: bytes = b"body") -> bytes:
    return m.frame(2, 1, encode_header_payload(len(body), properties)) + m.frame(3, 1, body)


def make_run(properties: Properties, body: bytes = b"body") -> Run:
    data = frames_of(properties, body)
    return Run(data, 1, len(data), None, (Route("x", "key", ()),))


def parse(frames: bytes) -> Properties:
    size = int.from_bytes(frames[3:7], "big")
    return decode_properties(frames, 7 + 12, 7 + size)


def die(properties: Properties, **about: Any) -> Letter:
    fields: dict[str, Any] = {
        "queue": "q", "reason": "rejected", "exchange": "x", "key": "key", "time_s": TIME_S,
        "new_key": None,
    }  # fmt: skip
    return AmqpLetters(131_072).dead_letter(make_run(properties), 0, Death(**fields | about))


def headers_of(letter: Letter) -> Table:
    found = parse(letter.frames).headers
    assert found is not None
    return found


def kill(headers: Table, *deaths: tuple[str, str]) -> list[Any]:
    """The x-death header of a message that dies so in these (queue, reason), one after the other."""
    for queue, reason in deaths:
        letter = die(Properties(headers=headers), queue=queue, reason=reason)
        headers = headers_of(letter)
    found = headers["x-death"]
    assert isinstance(found, list)
    return found


def names(deaths: list[Any]) -> list[tuple[str, int]]:
    return [(each["queue"], each["count"]) for each in deaths]


def test_the_first_death_in_full() -> None:
    letter = die(Properties(headers={"z": 1, "CC": ["other"]}, expiration="500", priority=4))
    headers = headers_of(letter)
    (entry,) = headers["x-death"]  # type: ignore[misc]
    assert list(entry) == [  # type: ignore[arg-type]
        "count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration",
    ]  # fmt: skip
    assert entry == {
        "count": 1, "reason": "rejected", "queue": "q", "time": TIME_S, "exchange": "x",
        "routing-keys": ["key", "other"], "original-expiration": "500",
    }  # fmt: skip
    assert isinstance(entry["time"], Timestamp)  # type: ignore[index,call-overload]
    assert list(headers) == [
        "CC", "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
        "x-last-death-exchange", "x-last-death-queue", "x-last-death-reason", "z",
    ]  # fmt: skip
    assert b"\x05countl\0\0\0\0\0\0\0\x01" in letter.frames, "of 64 bits"
    properties = parse(letter.frames)
    assert (properties.expiration, properties.priority) == (None, 4)
    assert (letter.keys, letter.priority, letter.expiration_ms) == (["key", "other"], 4, None)
    assert letter.deaths == [("q", "rejected", 1)]
    assert letter.headers == headers


def test_a_new_key_takes_the_place_of_all() -> None:
    letter = die(Properties(headers={"CC": ["other"]}), new_key="new")
    headers = headers_of(letter)
    assert letter.keys == ["new"] and "CC" not in headers
    assert headers["x-death"][0]["routing-keys"] == ["key", "other"]  # type: ignore[index,call-overload]


def test_the_first_death_stays_the_first_and_the_last_one_follows() -> None:
    first = headers_of(die(Properties()))
    again = die(Properties(headers=first), queue="r", reason="expired", exchange="y")
    headers = headers_of(again)
    about = [headers[f"x-{which}-death-{what}"] for which in ("first", "last")
             for what in ("exchange", "queue", "reason")]  # fmt: skip
    assert about == ["x", "q", "rejected", "y", "r", "expired"]
    assert again.deaths == [("r", "expired", 1), ("q", "rejected", 1)]


def test_the_same_death_again_is_counted_and_keeps_what_it_says() -> None:
    first = headers_of(die(Properties()))
    again = die(Properties(headers=first), exchange="y", key="other", time_s=TIME_S + 9)
    (entry,) = headers_of(again)["x-death"]  # type: ignore[misc]
    assert list(entry) == ["count", "exchange", "queue", "reason", "routing-keys", "time"]  # type: ignore[arg-type]
    assert entry == {
        "count": 2, "exchange": "x", "queue": "q", "reason": "rejected", "routing-keys": ["key"],
        "time": TIME_S,
    }  # fmt: skip


def test_two_and_more_others_are_turned_round_at_every_death() -> None:
    steps = [("q1", "rejected"), ("q2", "rejected"), ("q3", "rejected"), ("q4", "rejected")]
    assert names(kill({}, *steps[:2])) == [("q2", 1), ("q1", 1)]
    assert names(kill({}, *steps[:3])) == [("q3", 1), ("q1", 1), ("q2", 1)]
    assert names(kill({}, *steps)) == [("q4", 1), ("q2", 1), ("q1", 1), ("q3", 1)]
    assert names(kill({}, *steps[:3], ("q1", "rejected"))) == [("q1", 2), ("q2", 1), ("q3", 1)]


def test_deaths_of_one_queue_for_different_reasons_are_different() -> None:
    deaths = kill({}, ("q", "rejected"), ("q", "expired"), ("q", "rejected"))
    assert [(each["reason"], each["count"]) for each in deaths] == [("rejected", 2), ("expired", 1)]


@pytest.mark.parametrize("bogus", ["text", 7, {"queue": "q"}, None])
def test_an_x_death_of_another_type_is_replaced(bogus: Any) -> None:
    letter = die(Properties(headers={"x-death": bogus, "x-first-death-queue": "mine"}))
    headers = headers_of(letter)
    assert names(headers["x-death"]) == [("q", 1)]  # type: ignore[arg-type]
    assert headers["x-first-death-queue"] == "mine", "only a message without x-death gets these"


def test_what_is_no_table_in_x_death_is_left_out() -> None:
    letter = die(Properties(headers={"x-death": ["text", {"queue": "r", "reason": "expired"}]}))
    assert letter.deaths == [("q", "rejected", 1), ("r", "expired", 1)]


def test_alike_entries_without_a_count_are_counted_together() -> None:
    mine: Table = {"queue": "q", "reason": "rejected"}
    letter = die(Properties(headers={"x-death": [dict(mine), dict(mine)]}))
    assert names(headers_of(letter)["x-death"]) == [("q", 3)]  # type: ignore[arg-type]


def test_everything_else_stays_byte_for_byte() -> None:
    properties = Properties(
        content_type="text/plain", delivery_mode=2, correlation_id="c", reply_to="r",
        message_id="m", timestamp=Timestamp(5), type="t", user_id="u", app_id="a",
        headers={"deep": {"list": [1, 2.5, None, b"x"]}},
    )  # fmt: skip
    letter = die(properties)
    found = parse(letter.frames)
    assert found.headers is not None and found.headers["deep"] == {"list": [1, 2.5, None, b"x"]}
    found.headers = properties.headers
    assert found == properties
    assert letter.frames.endswith(m.frame(3, 1, b"body"))


def test_a_count_of_deliveries_takes_the_place_of_a_clients_own() -> None:
    letters = AmqpLetters(131_072)
    run = make_run(Properties(headers={"z": 1, "x-delivery-count": "mine", "a": 2}))
    counted = letters.counted(run, 0, 3)
    headers = parse(counted.content(0)).headers
    assert headers == {"a": 2, "x-delivery-count": 3, "z": 1}
    assert b"x-delivery-countl" + (3).to_bytes(8, "big") in counted.data
    route = counted.route(0)
    assert (route.exchange, route.routing_key) == ("x", "key")
    assert headers is not None and not isinstance(headers["x-delivery-count"], str)
    assert Long(3) == headers["x-delivery-count"]


def test_a_run_of_a_stream_has_its_offsets_and_nothing_else_of_its_own() -> None:
    method = m.method_frame(1, m.BasicPublish("x", "key"))
    routes = Route("x", "key", (), skip=len(method)), Route("", "", (), skip=0)
    messages = [
        method + frames_of(Properties(headers={"z": 1}, expiration="5", priority=3)),
        frames_of(Properties(headers={"x-stream-offset": "mine"}), b"other"),
        method + frames_of(Properties(delivery_mode=1)),
    ]
    stops = array("I", accumulate(map(len, messages)))
    run = Run(b"".join(messages), 3, 0, stops.tobytes(), routes, b"\0\1\0")
    run.arrived_ms, run.expiration_ms, run.priority = 77, 5, 3
    numbered = AmqpLetters(131_072).numbered(run, 2**40)
    assert numbered is not run and run.data == b"".join(messages)
    headers = [parse(numbered.content(i)).headers for i in range(3)]
    assert headers == [
        {"x-stream-offset": 2**40, "z": 1},
        {"x-stream-offset": 2**40 + 1},
        {"x-stream-offset": 2**40 + 2},
    ]
    assert [each.startswith(method) for each in numbered.messages()] == [True, False, True]
    assert [each[-9:] for each in numbered.messages()] == [each[-9:] for each in run.messages()]
    assert (numbered.routes, numbered.which, numbered.count) == (routes, b"\0\1\0", 3)
    assert (numbered.persistent, numbered.arrived_ms) == (True, 77)
    assert (numbered.expiration_ms, numbered.priority, numbered.marks) == (None, 0, None)


def test_messages_of_one_size_have_one_size_with_offsets() -> None:
    run = make_run(Properties(content_type="text/plain"))
    run = Run(run.data * 4, 4, run.stride, None, run.routes)
    numbered = AmqpLetters(131_072).numbered(run, 0)
    assert numbered.ends is None and numbered.stride * 4 == numbered.data_bytes
    headers = [parse(numbered.content(i)).headers for i in range(4)]
    assert headers == [{"x-stream-offset": i} for i in range(4)]


def test_letters_that_are_alike_are_written_alike() -> None:
    letters = AmqpLetters(131_072)
    death = Death("q", "expired", "x", "key", TIME_S, None)
    runs = [make_run(Properties(message_id=name), name.encode()) for name in ("a", "b", "a")]
    frames = [letters.dead_letter(run, 0, death).frames for run in runs]
    assert frames[0] == frames[2] != frames[1]
    assert [parse(each).message_id for each in frames] == ["a", "b", "a"]
