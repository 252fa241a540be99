"""Streams and their groups against a model, with AMQP publishers, restarts, and entries that are paged out."""

import random
from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import NULL_ARRAY
from tests.protocol.talk import Message

PERSISTENT = Properties(delivery_mode=2)
GROUPS = ("g", "h")
NAMES = (b"a", b"body", b"b", b"\xff", b"x-stream-offset")
VALUES = (b"", b"1", b"two", b"\0\r\n\xff")


class Group:
    """How far it has read, and what is pending: (consumer, how often) by id."""

    def __init__(self, last: tuple[int, int]) -> None:
        self.last = last
        self.pending: dict[tuple[int, int], tuple[bytes, int]] = {}


def parse(id: bytes) -> tuple[int, int]:
    ms, number = id.split(b"-")
    return int(ms), int(number)


def text(id: tuple[int, int]) -> bytes:
    return b"%d-%d" % id


class Play:
    """One broker after the other on one log, and what should be in the stream `s`."""

    def __init__(self, seed: int, **limits: Any) -> None:
        self.random = random.Random(seed)
        self.limits = limits
        self.world = LastingRedisWorld(**limits)
        self.entries: dict[tuple[int, int], list[bytes]] = {}
        self.groups: dict[str, Group] = {}
        self.last = (0, 0)
        self.connect()
        self.amqp_too = seed % 2
        if self.amqp_too:
            self.amqp.call(
                1, m.QueueDeclare("s", durable=True, arguments={"x-queue-type": "stream"})
            )
        self.add()

    def connect(self) -> None:
        self.redis = self.world.redis()
        self.amqp = self.world.client()

    def restart(self) -> None:
        self.world = self.world.restarted(**self.limits)
        assert not self.world.broker.notices
        self.connect()

    def step(self) -> None:
        does = self.random.choice(
            [self.add] * 4
            + [self.publish, self.delete, self.trim, self.make_group, self.read, self.read]
            + [self.read_again, self.ack, self.ack, self.claim, self.autoclaim, self.look]
        )
        does()
        if self.random.random() < 0.05:
            self.world.pass_ms(self.random.choice([0, 1, 1000]))
        if self.random.random() < 0.03:
            self.restart()
        found = self.redis.call("XRANGE", "s", "-", "+")
        assert found == [[text(id), fields] for id, fields in self.entries.items()]
        assert self.redis.call("XLEN", "s") == len(self.entries)
        for name, group in self.groups.items():
            pending = self.redis.call("XPENDING", "s", name, "-", "+", 1000)
            assert {parse(each[0]): (each[1], each[3]) for each in pending} == group.pending
            assert [parse(each[0]) for each in pending] == sorted(group.pending)
            (about,) = (
                dict(zip(each[::2], each[1::2], strict=True))
                for each in self.redis.call("XINFO", "GROUPS", "s")
                if each[1] == name.encode()
            )
            assert parse(about[b"last-delivered-id"]) == group.last

    def some_id(self) -> tuple[int, int]:
        return self.random.choice([*self.entries, self.last, (1, 1)])

    def fields(self) -> list[bytes]:
        count = self.random.choice([1, 1, 2, 3])
        return [self.random.choice(kind) for _ in range(count) for kind in (NAMES, VALUES)]

    def add(self) -> None:
        words: list[Any] = []
        least = None
        if self.random.random() < 0.1:
            least = self.random.choice([0, 3, 20])
            words = ["MAXLEN", least]
        ms = max(self.last[0], self.world.now_ms)
        for _ in range(self.random.choice([1, 1, 2, 9])):
            fields = self.fields()
            id = "*"
            if self.random.random() < 0.1:
                ms += 1
                id = f"{ms}-*"
            self.redis.send("XADD", "s", *words, id, *fields)
            self.world.turn() if self.random.random() < 0.2 else None
            self.entries[(1 << 64, len(self.entries))] = fields  # until its id is known
        self.world.turn()
        ids = [parse(each) for each in self.redis.hear()]
        added = list(self.entries.values())[-len(ids) :]
        for id in [id for id in self.entries if id[0] == 1 << 64]:
            del self.entries[id]
        for id, fields in zip(ids, added, strict=True):
            assert id > self.last
            self.last = id
            self.entries[id] = fields
            while least is not None and len(self.entries) > least:
                del self.entries[min(self.entries)]

    def publish(self) -> None:
        for number in range(self.random.choice([1, 3])):
            self.amqp.publish(1, "s", b"%d" % number, properties=PERSISTENT)
            fields = [b"body", b"%d" % number]
            before = len(self.entries)
            found = self.redis.call("XREVRANGE", "s", "+", "-", "COUNT", 1)
            assert found[0][1] == fields and parse(found[0][0]) > self.last
            self.last = parse(found[0][0])
            self.entries[self.last] = fields
            assert len(self.entries) == before + 1

    def delete(self) -> None:
        ids = {self.some_id() for _ in range(self.random.choice([1, 1, 5]))}
        count = self.redis.call("XDEL", "s", *map(text, ids))
        assert count == len(ids & self.entries.keys())
        for id in ids:
            self.entries.pop(id, None)

    def trim(self) -> None:
        if self.random.random() < 0.5:
            least = self.random.choice([0, 5, 30])
            gone = sorted(self.entries)[: max(len(self.entries) - least, 0)]
            assert self.redis.call("XTRIM", "s", "MAXLEN", least) == len(gone)
        else:
            low = self.some_id()
            gone = [id for id in self.entries if id < low]
            assert self.redis.call("XTRIM", "s", "MINID", text(low)) == len(gone)
        for id in gone:
            del self.entries[id]

    def make_group(self) -> None:
        name = self.random.choice(GROUPS)
        if name in self.groups and self.random.random() < 0.3:
            assert self.redis.call("XGROUP", "DESTROY", "s", name) == 1
            del self.groups[name]
            return
        last = self.some_id()
        reply = self.redis.call("XGROUP", "CREATE", "s", name, text(last))
        assert (reply == "OK") is (name not in self.groups)
        self.groups.setdefault(name, Group(last))

    def group(self) -> tuple[str, Group] | None:
        return self.random.choice(list(self.groups.items())) if self.groups else None

    def consumer(self) -> bytes:
        return self.random.choice([b"c", b"d"])

    def read(self) -> None:
        if (chosen := self.group()) is None:
            return
        name, group = chosen
        count, consumer = self.random.choice([1, 2, 100]), self.consumer()
        ids = [id for id in self.entries if id > group.last][:count]
        no_ack = ["NOACK"] if self.random.random() < 0.1 else []
        words = ["GROUP", name, consumer, "COUNT", count, *no_ack, "STREAMS", "s", ">"]
        reply = self.redis.call("XREADGROUP", *words)
        if not ids:
            assert reply is NULL_ARRAY
            return
        assert reply == [[b"s", [[text(id), self.entries[id]] for id in ids]]]
        group.last = ids[-1]
        if not no_ack:
            group.pending |= dict.fromkeys(ids, (consumer, 1))

    def read_again(self) -> None:
        if (chosen := self.group()) is None:
            return
        name, group = chosen
        consumer = self.consumer()
        ids = sorted(id for id, (who, _) in group.pending.items() if who == consumer)
        reply = self.redis.call("XREADGROUP", "GROUP", name, consumer, "STREAMS", "s", 0)
        expected = [[text(id), self.entries.get(id, NULL_ARRAY)] for id in ids]
        assert reply == [[b"s", expected]]
        for id in ids:
            if id in self.entries:
                group.pending[id] = (consumer, group.pending[id][1] + 1)

    def ack(self) -> None:
        if (chosen := self.group()) is None:
            return
        name, group = chosen
        ids = set(self.random.choices([*group.pending, (1, 1)], k=self.random.choice([1, 5])))
        count = self.redis.call("XACK", "s", name, *map(text, ids))
        assert count == len(ids & group.pending.keys())
        for id in ids:
            group.pending.pop(id, None)

    def claim(self) -> None:
        if (chosen := self.group()) is None:
            return
        name, group = chosen
        consumer, force = self.consumer(), self.random.random() < 0.3
        ids = {self.some_id() for _ in range(3)} | set(list(group.pending)[:2])
        words = ["XCLAIM", "s", name, consumer, 0, *map(text, ids), *(["FORCE"] if force else [])]
        expected = []
        for id in ids:
            if id not in self.entries:
                group.pending.pop(id, None)
            elif id in group.pending or force:
                count = group.pending[id][1] if id in group.pending else 1
                group.pending[id] = (consumer, count + 1)
                expected.append([text(id), self.entries[id]])
        assert self.redis.call(*words) == expected

    def autoclaim(self) -> None:
        if (chosen := self.group()) is None:
            return
        name, group = chosen
        consumer, ids = self.consumer(), sorted(group.pending)
        cursor, claimed, gone = self.redis.call("XAUTOCLAIM", "s", name, consumer, 0, 0, "COUNT", 4)
        assert [parse(id) for id in gone] == [id for id in ids[:4] if id not in self.entries]
        there = [id for id in ids[:4] if id in self.entries]
        assert claimed == [[text(id), self.entries[id]] for id in there]
        assert parse(cursor) == (ids[4] if len(ids) > 4 else (0, 0))
        for id in ids[:4]:
            _, count = group.pending.pop(id)
            if id in self.entries:
                group.pending[id] = (consumer, count + 1)

    def look(self) -> None:
        low, high = sorted([self.some_id(), self.some_id()])
        ids = [id for id in self.entries if low < id <= high]
        count = self.random.choice([1, 3, 1000])
        found = self.redis.call("XRANGE", "s", b"(" + text(low), text(high), "COUNT", count)
        assert [parse(each[0]) for each in found] == ids[:count]
        found = self.redis.call("XREVRANGE", "s", text(high), b"(" + text(low), "COUNT", count)
        assert [parse(each[0]) for each in found] == ids[::-1][:count]
        found = self.redis.call("XREAD", "COUNT", count, "STREAMS", "s", text(low))
        ids = [id for id in self.entries if low < id]
        if ids:
            assert [parse(each[0]) for each in found[0][1]] == ids[:count]
        else:
            assert found is NULL_ARRAY

    def read_over_amqp(self) -> None:
        """A reader gets as many entries as there are, in order."""
        self.amqp.call(1, m.BasicQos(prefetch_count=10_000))
        heard = self.amqp.call(1, m.BasicConsume("s", arguments={"x-stream-offset": "first"}))
        self.world.turn()
        heard += [item for _, item in self.amqp.hear()]
        messages = [item for item in heard if isinstance(item, Message)]
        assert len(messages) == len(self.entries)
        offsets = [message.properties.headers["x-stream-offset"] for message in messages]
        assert offsets == sorted(set(offsets))


@pytest.mark.parametrize("seed", range(12))
def test_streams_are_as_the_model(seed: int) -> None:
    play = Play(seed)
    for _ in range(150):
        play.step()
    play.read_over_amqp()


@pytest.mark.parametrize("seed", range(4))
def test_so_they_are_when_entries_are_paged_out(seed: int) -> None:
    play = Play(1000 + seed, page_bytes=200, memory_bytes_max=1 << 30)
    for _ in range(120):
        play.step()
    play.read_over_amqp()
