"""Strings and when they expire are in the log, one record a turn, and come back from it; whatever is cut off."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core import items
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.item_records import decode_items, encode_items
from mansio.core.keyspace import Keyspace
from mansio.core.limits import Limits
from mansio.core.records import Damaged
from mansio.core.restore import Restore
from tests.core.test_retention import Cutter

LIMITS = Limits(bucket_bytes=400, garbage_bytes=2000)


class Remembering(Cutter):
    """A broker with keys, whose log is cut as it says; `restart` goes on with another on that log."""

    def __init__(self) -> None:
        super().__init__()
        self.broker.now_ms = 1000

    @property
    def keys(self) -> Keyspace:
        return self.broker.keyspace("/")

    def turn(self) -> None:
        super().turn()
        check(self.broker)

    def restart(self) -> None:
        now_ms = self.broker.now_ms
        self.broker = Broker(LIMITS)
        self.broker.now_ms = now_ms
        restore = Restore(self.broker)
        for seq, records in self.entries.items():
            restore.entry(seq, sum(map(len, records)))
            offset = 0
            for record in records:
                restore.apply(record, offset)
                offset += len(record)
        restore.finish()
        check(self.broker)

    def values(self) -> dict[bytes, bytes]:
        keys = self.keys
        return {key: value for key in list(keys.strings) if (value := keys.get(key)) is not None}


def test_a_string_comes_back_with_its_time() -> None:
    writer = Remembering()
    writer.keys.put(b"a", b"1")
    writer.keys.put(b"b", b"")
    writer.keys.expire_string(b"b", 2000)
    writer.turn()
    writer.restart()
    assert writer.values() == {b"a": b"1", b"b": b""}
    assert writer.keys.time_of(b"b") == 2000 and writer.keys.time_of(b"a") is None
    writer.broker.now_ms = 2001
    writer.restart()
    assert writer.values() == {b"a": b"1"}


def test_changes_of_one_turn_are_one_record() -> None:
    writer = Remembering()
    writer.keys.put(b"0", b"0")
    writer.turn()
    before = sum(map(len, writer.entries.values()))
    for i in range(100):
        writer.keys.put(b"counter", b"%d" % i)
        writer.keys.put(b"%d" % (i % 7), b"x")
    writer.turn()
    assert sum(map(len, writer.entries.values())) == before + 1
    assert writer.entries[writer.seq][0].count(b"counter") == 1


def test_what_comes_and_goes_within_a_turn_is_no_record() -> None:
    writer = Remembering()
    writer.keys.put(b"a", b"1")
    writer.turn()
    seq = writer.seq
    writer.keys.put(b"b", b"1")
    writer.keys.delete(b"b")
    writer.turn()
    assert writer.seq == seq


def test_a_key_that_expires_costs_no_record_and_stays_away() -> None:
    writer = Remembering()
    writer.keys.put(b"a", b"old")
    writer.turn()
    writer.keys.put(b"a", b"new")
    writer.keys.expire_string(b"a", 1500)
    writer.turn()
    seq = writer.seq
    writer.broker.now_ms = 1501
    writer.turn()
    assert writer.seq == seq and not writer.keys.strings
    writer.restart()
    assert writer.values() == {}


def test_a_key_that_expires_in_the_turn_that_says_when_stays_away() -> None:
    writer = Remembering()
    writer.keys.put(b"a", b"1")
    writer.turn()
    writer.keys.expire_string(b"a", 1500)
    writer.broker.now_ms = 1501
    writer.turn()
    writer.restart()
    assert writer.values() == {}


def test_a_value_that_nobody_changes_does_not_keep_the_log() -> None:
    writer = Remembering()
    writer.keys.put(b"old", b"value")
    writer.turn()
    for i in range(500):
        writer.keys.put(b"counter", b"%d" % i)
        writer.keys.put(b"other %d" % (i % 3), b"x" * 20)
        writer.turn()
        assert writer.log_bytes < 8000
    assert min(writer.entries) > 100
    writer.restart()
    assert writer.values()[b"old"] == b"value" and writer.values()[b"counter"] == b"499"


def test_what_is_left_of_a_large_record_is_carried_without_the_rest() -> None:
    writer = Remembering()
    for i in range(100):
        writer.keys.put(b"key %d" % i, b"x" * 50)
    writer.turn()
    for i in range(1, 100):
        writer.keys.delete(b"key %d" % i)
        writer.turn()
    for i in range(200):
        writer.keys.put(b"counter", b"%d" % i)
        writer.turn()
    assert writer.log_bytes < 6000 and min(writer.entries) > 50
    writer.restart()
    assert writer.values() == {b"key 0": b"x" * 50, b"counter": b"199"}


def test_many_small_batches_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "LOOSE_MAX", 10)
    writer = Remembering()
    for i in range(100):
        writer.keys.put(b"key %d" % i, b"x")
        writer.turn()
    batches = set(writer.keys.items.shelves[ord("s")].places.values())
    assert len(batches) < 20
    writer.restart()
    assert len(writer.values()) == 100


def test_a_large_change_is_several_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "BATCH_BYTES_MAX", 100)
    writer = Remembering()
    for i in range(20):
        writer.keys.put(b"key %d" % i, b"x" * 30)
    writer.turn()
    assert len(writer.entries[writer.seq]) > 4
    writer.restart()
    assert len(writer.values()) == 20


def test_a_virtual_host_that_is_made_again_has_nothing() -> None:
    writer = Remembering()
    administration = writer.broker.administration
    administration.put_vhost("v")
    writer.broker.keyspace("v").put(b"a", b"1")
    writer.turn()
    administration.delete_vhost("v")
    administration.put_vhost("v")
    writer.turn()
    writer.restart()
    assert writer.broker.keyspace("v").get(b"a") is None


def test_a_virtual_host_that_goes_keeps_nothing_of_the_log() -> None:
    writer = Remembering()
    administration = writer.broker.administration
    administration.put_vhost("v")
    writer.broker.keyspace("v").put(b"a", b"1")
    writer.turn()
    writer.broker.keyspace("v").put(b"a", b"2")
    administration.delete_vhost("v")
    writer.turn()
    retention = writer.broker.journal.retention
    assert retention.live_bytes == 0


def test_a_forgetful_broker_writes_nothing() -> None:
    writer = Remembering()
    writer.broker.forgetful = True
    writer.turn()
    seq = writer.seq
    writer.keys.put(b"a", b"1")
    writer.keys.expire_string(b"a", 2000)
    writer.turn()
    assert writer.seq == seq and writer.values() == {b"a": b"1"}
    writer.broker.now_ms = 2001
    writer.turn()
    assert writer.values() == {}


def test_a_record_says_what_it_was_given() -> None:
    record = b"".join(
        encode_items(7, [(115, b"key", b"value"), (101, b"", None), (115, b"x", b"")])
    )
    found = decode_items(memoryview(record))
    assert found == (7, [(b"skey", b"value"), (b"e", None), (b"sx", b"")])
    restore = Restore(Broker())
    for size in range(10, len(record)):
        if size not in (9, 9 + 9 + 8, 9 + 9 + 8 + 9):
            with pytest.raises(Damaged):
                restore.apply(record[:size])


KEYS = st.sampled_from([b"a", b"b", b"c", b"\xff", b""])
ACTIONS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=40)),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("expire"), KEYS, st.integers(0, 60)),
    st.tuples(st.just("pass"), st.integers(1, 40)),
    st.tuples(st.just("turn")),
    st.tuples(st.just("restart")),
)


@given(st.lists(ACTIONS, max_size=60))
@settings(deadline=None, max_examples=150)
def test_keys_are_as_in_a_dictionary_with_times(actions: list[tuple[Any, ...]]) -> None:
    writer = Remembering()
    model: dict[bytes, tuple[bytes, int]] = {}
    for do, *how in actions:
        now_ms = writer.broker.now_ms
        keys = writer.keys
        model = {key: each for key, each in model.items() if not 0 < each[1] < now_ms}
        if do == "put":
            assert (keys.get(how[0]) is not None) == (how[0] in model)
            keys.put(*how)
            model[how[0]] = how[1], model.get(how[0], (b"", 0))[1]
        elif do == "delete":
            assert keys.delete(how[0]) == (how[0] in model)
            model.pop(how[0], None)
        elif do == "expire" and keys.get(how[0]) is not None:
            when_ms = now_ms + how[1] if how[1] > 5 else 0
            keys.expire(how[0], when_ms)
            model[how[0]] = model[how[0]][0], when_ms
        elif do == "pass":
            writer.broker.now_ms += how[0]
        elif do == "turn":
            writer.turn()
        elif do == "restart":
            writer.turn()
            writer.restart()
    writer.turn()
    now_ms = writer.broker.now_ms
    model = {key: each for key, each in model.items() if not 0 < each[1] < now_ms}
    for _ in range(2):
        assert writer.values() == {key: value for key, (value, _) in model.items()}
        for key, (_, when_ms) in model.items():
            assert writer.keys.time_of(key) == (when_ms or None)
        writer.restart()
