"""Runs of interleaved routes: what leads to the same queues is joined, and no queue sees two messages change places."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.codec import amqp
from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.codec.reading import CODECS, NAMES, PURE, Reader, publish, read

PLAIN, DURABLE = Properties(), Properties(delivery_mode=2)
SPECIAL = Properties(expiration="1")
FLAGS = {id(PLAIN): 0, id(DURABLE): amqp.PERSISTENT, id(SPECIAL): amqp.SPECIAL}

every_form = pytest.mark.parametrize("codec", CODECS, ids=NAMES)

KEYS = ["", "a", "b", "c", "ab", "ba", "bc", "abc", "d"]
LEARNING = b"".join(publish(key, channel=channel) for key in KEYS for channel in (1, 2))

sizes = st.lists(st.sampled_from([0, 3, 3, 3, 40]), min_size=1, max_size=4)
calm = st.tuples(st.sampled_from("abd"), st.just(1), st.just(PLAIN), sizes, st.just(()))
mixed = st.tuples(
    st.sampled_from([*KEYS, "!"]),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([PLAIN, PLAIN, PLAIN, DURABLE, SPECIAL]),
    sizes,
    st.sampled_from([(), (), (1, 1)]),
)
sent = st.one_of(st.lists(mixed, max_size=30), st.lists(calm, max_size=12))


def build(messages: list[Any]) -> list[tuple[str, int, int, bytes]]:
    """(key, channel, flags, frames) of each; every body says its number."""
    found = []
    for key, channel, properties, sizes, pieces in messages:
        for size in sizes:
            body = b"%03d" % len(found) + b"." * size
            raw = publish(key, body, properties, channel, pieces)
            found.append((key, channel, FLAGS[id(properties)], raw))
    return found


def views(messages: list[tuple[str, int, int, bytes]]) -> dict[tuple[int, str], list[Any]]:
    """What each queue gets from each channel, in order; "" is nowhere."""
    seen: dict[tuple[int, str], list[Any]] = {}
    for key, channel, flags, raw in messages:
        for queue in set(key) or {""}:
            seen.setdefault((channel, queue), []).append((flags, raw))
    return seen


def learned(codec: Any) -> Reader:
    """A reader that knows all routes: an unknown one ends a scan."""
    reader = read(codec, LEARNING)
    reader.runs.clear()
    reader.items.clear()
    return reader


def got(reader: Reader) -> list[tuple[str, int, int, bytes]]:
    return [(key, raw[2], flags, raw) for key, raw, flags in reader.messages()]


@settings(max_examples=300)
@given(sent, st.lists(st.integers(0, 4000), max_size=3), st.booleans())
def test_no_queue_sees_messages_change_places_and_none_is_lost(
    messages: list[Any], cuts: list[int], grouping: bool
) -> None:
    built = build(messages)
    known = [each for each in built if "!" not in each[0]]
    data = b"".join(raw for *_, raw in built)
    for codec in CODECS:
        reader = learned(codec)
        reader.scan.grouping = grouping
        at = 0
        for cut in sorted(cuts):
            reader.receive(data[at:cut])
            at = max(at, cut)
        reader.receive(data[at:])
        found = got(reader)
        assert sorted(found) == sorted(known)
        assert views(found) == views(known)
        if not grouping:
            assert found == known, "without grouping nothing changes places at all"
        lost = b"".join(m.frame(*single) for single in reader.singles)
        assert lost == b"".join(raw for key, _, _, raw in built if "!" in key)
        for routes, _, _, _, _, _, flags in reader.runs:
            assert len({(route.channel, frozenset(route.key)) for route in routes}) == 1
            assert len(routes) == 1 or flags != amqp.SPECIAL


@pytest.mark.skipif(not amqp.COMPILED, reason="there is one form only")
@given(sent)
def test_both_forms_make_the_same_runs(messages: list[Any]) -> None:
    compiled, pure = learned(amqp), learned(PURE)
    for reader in (compiled, pure):
        reader.receive(b"".join(raw for *_, raw in build(messages)))
    assert compiled.items == pure.items


@every_form
def test_alternating_queues_become_one_run_each(codec: Any) -> None:
    reader = Reader(codec)
    reader.receive(publish("a") + publish("b"))  # unknown routes end a scan
    reader.runs.clear()
    reader.receive(b"".join(publish("ab"[i % 2], b"%03d" % i) for i in range(100)))
    assert [(len(run[0]), run[3]) for run in reader.runs] == [(1, 50), (1, 50)]


@every_form
def test_keys_with_the_same_queues_share_a_run(codec: Any) -> None:
    reader = Reader(codec)
    keys = ["ab", "ba", "aab"]
    reader.receive(b"".join(publish(key) for key in keys))
    reader.runs.clear()
    sent = [publish(keys[i % 3], bytes(i)) for i in range(30)]
    reader.receive(b"".join(sent))
    ((routes, which, data, count, stride, ends, _),) = reader.runs
    assert ([route.key for route in routes], which) == (keys, bytes(range(3)) * 10)
    assert (count, stride, data) == (30, 0, b"".join(sent))
    assert [codec.bounds(i, stride, ends)[1] for i in (0, 29)] == [len(sent[0]), len(data)]


@every_form
def test_a_group_of_one_size_keeps_its_stride(codec: Any) -> None:
    reader = Reader(codec)
    reader.receive(publish("a") + publish("b"))
    reader.runs.clear()
    reader.receive((publish("a") + publish("b")) * 4)
    assert [(run[3], run[4], run[5]) for run in reader.runs] == [(4, len(publish("a")), None)] * 2


@every_form
def test_an_overlap_keeps_the_order(codec: Any) -> None:
    reader = Reader(codec)
    reader.receive(publish("a") + publish("b") + publish("ab"))
    reader.runs.clear()
    reader.receive(publish("a") + publish("b") + publish("ab") + publish("a") + publish("b"))
    assert [run[0][0].key for run in reader.runs] == ["a", "b", "ab", "a", "b"]


@every_form
def test_more_routes_than_one_octet_counts(codec: Any) -> None:
    reader = Reader(codec)
    keys = ["ab" * n for n in range(1, 120)] + ["ba" * n for n in range(1, 120)]
    keys += ["aab" * n for n in range(1, 80)]
    keys = [key for key in keys if len(key) < 256]
    assert len(set(keys)) > 256
    reader.receive(b"".join(map(publish, keys)))
    reader.runs.clear()
    reader.receive(b"".join(map(publish, keys * 2)))
    assert [key for key, _, _ in reader.messages()] == keys * 2
    assert max(len(run[0]) for run in reader.runs) <= 256


@every_form
def test_channels_are_never_joined(codec: Any) -> None:
    reader = Reader(codec)
    data = publish("a", channel=1) + publish("a", channel=2)
    data += publish("", channel=1) + publish("", channel=2)
    reader.receive(data)
    reader.runs.clear()
    reader.receive(data * 3)
    assert sorted((run[0][0].channel, run[3]) for run in reader.runs) == [(1, 3)] * 2 + [(2, 3)] * 2
