"""Lists against Python's own, with AMQP clients at the same queues, restarts, and messages that are paged out."""

import random
from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import NULL_ARRAY, Error
from tests.protocol.talk import Message

KEYS = ("a", "b")
"""The second one begins on the left."""
VALUES = [b"%d" % i for i in range(6)]
PERSISTENT = Properties(delivery_mode=2)


class Model:
    """A list whose first element, in the order of delivery, is at the left or at the right; each with its place."""

    def __init__(self, head_left: bool) -> None:
        self.head_left = head_left
        self.items: list[tuple[int, bytes]] = []
        self.low = self.next = 0

    @property
    def values(self) -> list[bytes]:
        found = [value for _, value in self.items]
        return found if self.head_left else found[::-1]

    def put(self, front: bool, value: bytes) -> None:
        if front:
            self.low -= 1
            self.items.insert(0, (self.low, value))
        else:
            self.items.append((self.next, value))
            self.next += 1

    def push(self, left: bool, value: bytes) -> None:
        self.put(left is self.head_left, value)

    def pop(self, left: bool) -> bytes:
        return self.items.pop(0 if left is self.head_left else -1)[1]

    def at(self, number: int) -> int:
        """The place in `items` of an element numbered from the left."""
        return number if self.head_left else len(self.items) - 1 - number

    def drop(self, numbers: list[int]) -> None:
        for at in sorted(map(self.at, numbers), reverse=True):
            del self.items[at]

    def replace(self, at: int, gone: int, value: bytes) -> None:
        """New places for whatever is on the shorter side."""
        before, after = self.items[:at], self.items[at + gone :]
        if len(before) <= len(after):
            self.items = after
            for each in [value, *(v for _, v in reversed(before))]:
                self.put(True, each)
        else:
            self.items = before
            for each in [value, *(v for _, v in after)]:
                self.put(False, each)

    def give_back(self, item: tuple[int, bytes]) -> None:
        self.items = sorted([*self.items, item])


class Play:
    """One broker after the other on one log, a Redis client, an AMQP client, and what should be in the lists."""

    def __init__(self, seed: int, **limits: Any) -> None:
        self.random = random.Random(seed)
        self.limits = limits
        self.world = LastingRedisWorld(**limits)
        self.models = {key: Model(key == "b") for key in KEYS}
        self.flying: list[tuple[int, str, tuple[int, bytes]]] = []
        self.connect()
        for key, command in zip(KEYS, ("LPUSH", "RPUSH"), strict=True):
            self.redis.call(command, key, b"0")
            self.models[key].put(False, b"0")

    def connect(self) -> None:
        self.redis = self.world.redis()
        self.amqp = self.world.client()

    def restart(self) -> None:
        self.world = self.world.restarted(**self.limits)
        for _, key, item in self.flying:
            self.models[key].give_back(item)
        self.flying.clear()
        self.connect()

    def step(self) -> None:
        key = self.random.choice(KEYS)
        does = self.random.choice(
            [self.push] * 4
            + [self.pop, self.get, self.settle, self.publish, self.edit, self.move]
            + [self.trim, self.look]
        )
        does(key, self.models[key])
        if self.random.random() < 0.03:
            self.restart()
        for each, model in self.models.items():
            assert self.redis.call("LRANGE", each, 0, -1) == model.values
            assert self.redis.call("LLEN", each) == len(model.items)

    def value(self) -> bytes:
        return self.random.choice(VALUES)

    def push(self, key: str, model: Model) -> None:
        left = self.random.random() < 0.5
        values = [self.value() for _ in range(self.random.choice([1, 1, 2, 5]))]
        for value in values:
            model.push(left, value)
        name = "LPUSH" if left else "RPUSH"
        assert self.redis.call(name, key, *values) == len(model.items)

    def pop(self, key: str, model: Model) -> None:
        left = self.random.random() < 0.5
        count = min(self.random.choice([1, 1, 2, 7]), len(model.items))
        values = [model.pop(left) for _ in range(count)]
        if count == 1 and self.random.random() < 0.5:
            name = self.random.choice(["POP", "BPOP"])
            if name == "POP":
                assert self.redis.call("LPOP" if left else "RPOP", key) == values[0]
            else:
                name = "BLPOP" if left else "BRPOP"
                assert self.redis.call(name, "nothing", key, 0) == [key.encode(), values[0]]
        elif count:
            side = "LEFT" if left else "RIGHT"
            reply = self.redis.call("LMPOP", 2, "nothing", key, side, "COUNT", count)
            assert reply == [key.encode(), values]
        else:
            assert self.redis.call("LPOP", key, 3) is NULL_ARRAY

    def move(self, key: str, model: Model) -> None:
        target = self.random.choice(KEYS)
        sides = [self.random.random() < 0.5 for _ in range(2)]
        words = ["LEFT" if side else "RIGHT" for side in sides]
        value = None
        if model.items:
            value = model.pop(sides[0])
            self.models[target].push(sides[1], value)
        assert self.redis.call("LMOVE", key, target, *words) == value

    def edit(self, key: str, model: Model) -> None:
        values, value, new = model.values, self.value(), self.value()
        kind = self.random.randrange(3)
        if kind == 0:
            count = self.random.randint(-2, 2)
            numbers = [i for i, each in enumerate(values) if each == value]
            if count < 0:
                numbers = numbers[count:]
            elif count > 0:
                numbers = numbers[:count]
            assert self.redis.call("LREM", key, count, value) == len(numbers)
            model.drop(numbers)
        elif kind == 1:
            number = self.random.randrange(-6, 6)
            reply = self.redis.call("LSET", key, number, new)
            if "paged out" in str(reply):
                return
            if -len(values) <= number < len(values):
                assert reply == "OK"
                model.replace(model.at(number % len(values)), 1, new)
            else:
                assert isinstance(reply, Error)
        else:
            before = self.random.random() < 0.5
            reply = self.redis.call("LINSERT", key, "BEFORE" if before else "AFTER", value, new)
            if "paged out" in str(reply):
                return
            if value in values:
                number = values.index(value) + (not before)
                at = number if model.head_left else len(values) - number
                model.replace(at, 0, new)
            assert reply == (len(model.items) if value in values else -1 if values else 0)

    def trim(self, key: str, model: Model) -> None:
        start, stop = self.random.randint(-20, 4), self.random.randint(-4, 20)
        if self.random.random() < 0.6:
            return
        values = model.values
        low = max(start + len(values), 0) if start < 0 else start
        high = stop + len(values) if stop < 0 else stop
        assert self.redis.call("LTRIM", key, start, stop) == "OK"
        model.drop([i for i in range(len(values)) if not low <= i <= high])

    def look(self, key: str, model: Model) -> None:
        values, value = model.values, self.value()
        number = self.random.randrange(-8, 8)
        inside = -len(values) <= number < len(values)
        assert self.redis.call("LINDEX", key, number) == (values[number] if inside else None)
        places = [i for i, each in enumerate(values) if each == value]
        assert self.redis.call("LPOS", key, value, "COUNT", 0) == places
        backwards = [i for i in places if i >= len(values) - 3][::-1]
        reply = self.redis.call("LPOS", key, value, "RANK", -1, "COUNT", 0, "MAXLEN", 3)
        assert reply == backwards

    def publish(self, key: str, model: Model) -> None:
        value = self.value()
        model.put(False, value)
        self.amqp.publish(1, key, value, properties=PERSISTENT)
        self.world.turn()

    def get(self, key: str, model: Model) -> None:
        (heard,) = self.amqp.call(1, m.BasicGet(key))
        if not model.items:
            assert isinstance(heard, m.BasicGetEmpty)
            return
        item = model.items.pop(0)
        assert isinstance(heard, Message) and heard.body == item[1]
        self.flying.append((heard.method.delivery_tag, key, item))

    def settle(self, key: str, model: Model) -> None:
        if not self.flying:
            return
        tag, whose, item = self.flying.pop(self.random.randrange(len(self.flying)))
        if self.random.random() < 0.5:
            self.amqp.send(1, m.BasicAck(tag))
        else:
            self.amqp.send(1, m.BasicNack(tag, requeue=True))
            self.models[whose].give_back(item)
        self.world.turn()


@pytest.mark.parametrize("seed", range(12))
def test_lists_are_as_pythons_own(seed: int) -> None:
    play = Play(seed)
    for _ in range(150):
        play.step()


@pytest.mark.parametrize("seed", range(4))
def test_so_they_are_when_messages_are_paged_out(seed: int) -> None:
    play = Play(1000 + seed, page_bytes=200, memory_bytes_max=1 << 30)
    for _ in range(120):
        play.step()
