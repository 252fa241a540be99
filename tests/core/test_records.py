"""Records: what is written is read back, and what is damaged is said to be."""

from array import array
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.core.held import Held, from_table
from mansio.core.limits import TIME_MAX_MS
from mansio.core.marks import Marks
from mansio.core.records import (
    Counted,
    Damaged,
    Parts,
    Published,
    Settled,
    Timestamp,
    decode,
    encode_counted,
    encode_publish,
    encode_settle,
    encode_topology,
    pack_table,
    unpack_table,
)
from mansio.core.routing import Route
from mansio.core.run import Run
from tests.core.play import make_run

names = st.one_of(st.text(max_size=60), st.just("\udcff\udc80"), st.just("ü" * 127))
u64 = st.integers(0, (1 << 64) - 1)
i64 = st.integers(-(1 << 63), (1 << 63) - 1)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    routes = tuple(
        Route(draw(names), draw(names), (), skip=draw(st.integers(0, 600)), channel=draw(st.integers(1, 65535)))
        for _ in range(draw(st.integers(1, 3)))
    )  # fmt: skip
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    uniform = draw(st.booleans())
    if uniform:
        sizes = sizes[:1] * len(sizes)
    marks = draw(st.none() | st.builds(Marks, names, st.none(), names, names | st.none()))
    data = bytes(i % 256 for i in range(sum(sizes)))
    ends = None if uniform else array("I", [sum(sizes[: i + 1]) for i in range(len(sizes))])
    which = None
    if len(routes) > 1:
        which = bytes(draw(st.integers(0, len(routes) - 1)) for _ in sizes)
    run = Run(
        data, len(sizes), sizes[0] if uniform else 0,
        None if ends is None else ends.tobytes(), routes, which, True,
    )  # fmt: skip
    run.marks = marks
    return run


def joined(parts: Parts) -> bytes:
    return b"".join(parts)


@given(runs(), st.lists(st.tuples(u64, i64), min_size=1, max_size=4))
def test_a_publish_is_read_back(run: Run, places: list[tuple[int, int]]) -> None:
    record = joined(encode_publish(run, places))
    found = decode(record)
    assert isinstance(found, Published)
    assert found.places == places
    assert found.messages == run.count and found.stride == run.stride
    assert (found.data, found.ends, found.which) == (run.data, run.ends, run.which)
    assert (found.marks and found.marks.pack()) == (run.marks and run.marks.pack())
    assert found.routes == [
        (route.skip, route.channel, route.frame_max, route.exchange, route.routing_key)
        for route in run.routes
    ]


def test_a_publish_goes_to_any_number_of_queues() -> None:
    places = [(queue, 7) for queue in range(70_000)]
    found = decode(joined(encode_publish(make_run([1]), places)))
    assert isinstance(found, Published) and found.places == places


@given(
    runs(),
    st.integers(0, 1 << 50),
    st.one_of(st.none(), st.integers(0, TIME_MAX_MS)),
    st.integers(0, 255),
)
def test_age_expiration_and_priority_are_read_back(
    run: Run, arrived_ms: int, expiration_ms: int | None, priority: int
) -> None:
    run.arrived_ms, run.expiration_ms, run.priority = arrived_ms, expiration_ms, priority
    found = decode(joined(encode_publish(run, [(1, 0)])))
    assert isinstance(found, Published)
    traits = found.arrived_ms, found.expiration_ms, found.priority
    assert traits == (arrived_ms, expiration_ms, priority)


@given(
    u64,
    st.integers(0, 2**32 - 1),
    u64,
    st.lists(st.tuples(i64, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))),
)
def test_counts_are_read_back(
    queue: int, deliveries: int, due_ms: int, ranges: list[tuple[int, int, int]]
) -> None:
    record = joined(encode_counted(queue, deliveries, due_ms, ranges))
    assert decode(record) == Counted(queue, deliveries, due_ms, ranges)
    with pytest.raises(Damaged):
        decode(record[:12])


@given(u64, st.lists(st.tuples(i64, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))))
def test_settlements_are_read_back(queue: int, ranges: list[tuple[int, int, int]]) -> None:
    assert decode(joined(encode_settle(queue, ranges))) == Settled(queue, ranges)


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.floats(allow_nan=False),
        names,
        st.binary(max_size=20),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.integers(0, 1 << 63).map(Timestamp),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=10,
)


def same(a: Any, b: Any) -> bool:
    """Equal, types included."""
    if type(a).__name__ != type(b).__name__:
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


@given(st.dictionaries(names, values, max_size=4))
def test_tables_in_changes_of_the_topology_keep_their_types(table: dict[str, Any]) -> None:
    record = joined(encode_topology({"do": "bind", "arguments": pack_table(table)}))
    change = decode(record)
    assert isinstance(change, dict) and change["do"] == "bind"
    assert same(unpack_table(change["arguments"]), table)


@pytest.mark.parametrize("table", [{"x": "zz"}, {"D": "no"}, {"F": 1}, {"$bytes": "zz"}, {"T": {}}])
def test_no_table_of_a_client_can_look_like_a_packed_one(table: dict[str, Any]) -> None:
    assert same(unpack_table(pack_table({"a": table, **table})), {"a": table, **table})


def _marked() -> Run:
    run = make_run([1], True)
    run.marks = Marks("id", None, "reply", None)
    return run


RECORDS = {
    "publish": encode_publish(make_run([1, 2, 3], True), [(1, 2), (3, 4)]),
    "varied": encode_publish(
        Run(b"abbccc", 3, 0, array("I", [1, 3, 6]).tobytes(), (Route("e", "k", ()),) * 2, b"\0\1\0"),
        [(1, 0)],
    ),
    "marked": encode_publish(_marked(), [(1, 0)]),
    "topology": encode_topology({"do": "declare queue", "arguments": pack_table({"a": Decimal(1)})}),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_was_cut_is_damaged(name: str) -> None:
    record = joined(RECORDS[name])
    for cut in range(len(record)):
        with pytest.raises(Damaged):
            decode(record[:cut])


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_from_a_view_as_from_bytes(name: str) -> None:
    record = joined(RECORDS[name])
    copy = bytearray(record)
    with memoryview(copy) as view:
        found = decode(view)
    copy[:] = bytes(len(copy))  # nothing is kept of it
    again = decode(record)
    if isinstance(found, Published) and isinstance(again, Published) and found.marks is not None:
        assert again.marks is not None and found.marks.pack() == again.marks.pack()
        found, again = found._replace(marks=None), again._replace(marks=None)
    assert found == again


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_with_something_behind_it_is_damaged(name: str) -> None:
    with pytest.raises(Damaged):
        decode(joined(RECORDS[name]) + b"\0")


@pytest.mark.parametrize("cut", [1, 8, 15, 17])
def test_a_row_of_settlements_that_was_cut_is_damaged(cut: int) -> None:
    with pytest.raises(Damaged):
        decode(joined(encode_settle(1, [(1, 2, 3), (4, 5, 6)]))[:-cut])


@pytest.mark.parametrize("record", [b"\0", b"\4abc", b"\3[]", b"\3nonsense", b"\3\xff", b"\2"])
def test_what_is_no_record_is_damaged(record: bytes) -> None:
    with pytest.raises(Damaged):
        decode(record)


@pytest.mark.parametrize(
    "packed", [None, 1, [], {}, {"F": []}, {"F": {"a": {"x": 1}}}, {"F": {"a": {"x": "zz"}}},
               {"F": {"a": {"D": "zz"}}}, {"F": {"a": {}}}, {"x": "00"}, {"F": {}, "x": ""}],
)  # fmt: skip
def test_what_is_no_packed_table_is_damaged(packed: Any) -> None:
    with pytest.raises(Damaged):
        unpack_table(packed)


@given(st.sampled_from(sorted(RECORDS)), st.integers(0), st.integers(1, 255))
def test_a_changed_octet_is_damage_or_another_record_and_nothing_else(
    name: str, at: int, change: int
) -> None:
    record = bytearray(joined(RECORDS[name]))
    record[at % len(record)] ^= change
    try:
        decode(bytes(record))
    except Damaged as error:
        assert f"record of {len(record)} bytes" in str(error)


@pytest.mark.parametrize(("due", "ids"), [(5, None), ([7, 1 << 62], None), ([7, 6], [1 << 40, 3])])
def test_delayed_messages_say_when_they_are_due(
    due: int | list[int], ids: list[int] | None
) -> None:
    run = Run(b"ab", 2, 1, None, (Route("", "k", ()),), None, True)
    times = due if isinstance(due, int) else array("Q", due)
    run.held = Held(run, times, None if ids is None else array("Q", ids))
    record = b"".join(encode_publish(run, [(9, 4)]))
    found = decode(record)
    assert isinstance(found, Published) and found.due is not None
    held = from_table(run, found.places[0][1], found.due)
    assert [held.due_ms(i) for i in range(2)] == ([due, due] if isinstance(due, int) else due)
    assert [held.id(i) for i in range(2)] == (ids or [4, 5])
    with pytest.raises(Damaged):
        decode(b"".join(encode_publish(run, [(9, 4), (10, 0)])))
