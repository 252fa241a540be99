"""One scenario on two servers: every reply of the one beside that of the other."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.differential import compare, known
from tests.differential.side import GONE, WAITING, Side
from tests.differential.steps import Arg, Scenario, Step

GROUP: Final = 40  # commands in one write
WAITERS_MAX: Final = 3

Plant = Callable[[Sequence[Arg], bytes], bytes]


@dataclass(frozen=True, slots=True)
class Different:
    """The first step whose replies are not the same, by its place; `client` heard them."""

    at: int
    client: int
    step: Step
    redis: tuple[bytes, ...]
    mansio: tuple[bytes, ...]

    def kind(self) -> tuple[bytes, ...]:
        """What tells it from others, roughly."""
        name = self.step.name() if self.step.kind != "alone" else b"(bytes)"
        return (name, b"".join(self.redis)[:12], b"".join(self.mansio)[:12])


class Parted(Exception):
    """The servers have parted, for a reason that is known."""


class Runner:
    """Plays scenarios; `commands` counts what both servers were asked."""

    def __init__(self, redis: Side, mansio: Side, plant: Plant | None = None) -> None:
        """`plant` makes wrong replies of Mansio's, so that a test can see that they are found."""
        self.redis, self.mansio = redis, mansio
        self.sides = (redis, mansio)
        self.commands = 0
        self.asked: Counter[bytes] = Counter()
        self.excused: Counter[str] = Counter()
        self.restart: Callable[[], str] | None = None
        """Called at the end of each scenario; answers what is wrong."""
        self._plant = plant
        self._at = 0
        self._waiting: dict[int, Step] = {}
        self._gone: set[int] = set()
        self._transactions = compare.Transactions()

    def run(self, scenario: Scenario) -> Different | None:
        """The first difference, or None."""
        try:
            return self._run(scenario)
        except Parted:
            return None

    def _run(self, scenario: Scenario) -> Different | None:
        for side in self.sides:
            side.begin(scenario)
        self._waiting, self._gone, self._transactions = {}, set(), compare.Transactions()
        for at, steps in self._groups(scenario):
            self._at = at
            client = steps[0].client
            if client in self._waiting or client in self._gone:
                continue
            found = self._play(client, steps, client in scenario.subscribers)
            if found is None and self._waiting:
                found = self._collect(steps[-1])
            if found is not None:
                return found
        self._at = len(scenario.steps)
        return self._audit(scenario)

    def _groups(self, scenario: Scenario) -> Iterator[tuple[int, list[Step]]]:
        """Steps that can be sent together: of one client, with one reply each."""
        group: list[Step] = []
        begin = 0
        for at, step in enumerate(scenario.steps):
            if step.kind == "ask" and group and step.client == group[0].client:
                if len(group) < GROUP:
                    group.append(step)
                    continue
            if group:
                yield begin, group
                group = []
            if step.kind == "ask":
                begin, group = at, [step]
            else:
                yield at, [step]
        if group:
            yield begin, group

    def _play(self, client: int, steps: list[Step], subscriber: bool) -> Different | None:
        step = steps[0]
        self.commands += len(steps)
        for each in steps:
            self.asked[each.name()] += 1
        match step.kind:
            case "expires":
                found = [side.expires(step.args) for side in self.sides]
                return self._compare(client, step, found[0], found[1])
            case "alone":
                assert isinstance(step.args[0], bytes)
                redis, mansio = (side.alone(step.args[0]) for side in self.sides)
                return self._compare_many(client, step, redis, mansio)
            case "scan":
                found = [side.scan(step) for side in self.sides]
                return self._compare(client, step, found[0], found[1])
            case "blocks":
                return self._wait(step)
        for side in self.sides:
            side.send(client, b"".join(side.render(each.args) for each in steps))
        if subscriber:
            heard = [side.all_said(client) for side in self.sides]
            return self._compare_many(client, step, heard[0], heard[1])
        theirs, ours = (side.replies(client, len(steps)) for side in self.sides)
        for offset, each in enumerate(steps):
            different = self._compare(client, each, theirs[offset], ours[offset], offset)
            if different is not None:
                return different
        return None

    def _wait(self, step: Step) -> Different | None:
        """A command that may wait for others."""
        if len(self._waiting) >= WAITERS_MAX or step.client == 0:
            return None  # somebody has to be left who serves them
        client, before = step.client, len(self._waiting)
        for side in self.sides:
            side.send(client, side.render(step.args))
        results = [side.waits_or_replies(client, before) for side in self.sides]
        found = self._compare(client, step, results[0], results[1])
        if found is None and results[0] == WAITING:
            self._waiting[client] = step
        return found

    def _collect(self, cause: Step) -> Different | None:
        """Those that wait no longer, and what they were told."""
        waiting = set(self._waiting)
        redis, mansio = (side.served(waiting) for side in self.sides)
        for client in sorted(redis.keys() | mansio.keys()):
            step = self._waiting.pop(client)
            told = [each.get(client, WAITING) for each in (redis, mansio)]
            found = self._compare(client, step, told[0], told[1])
            if found is not None:
                return found
        return None

    def _compare(
        self, client: int, step: Step, redis: bytes, mansio: bytes, offset: int = 0
    ) -> Different | None:
        args = step.args
        if self._plant is not None:
            mansio = self._plant(args, mansio)
        name = step.name()
        if redis == GONE:
            self._gone.add(client)
        if redis != mansio:
            queued = self._transactions.before(client, args)
            if not compare.same(args, redis, mansio, queued):
                excuses = known.excuses_for(args, redis, mansio, queued)
                if not excuses:
                    return Different(self._at + offset, client, step, (redis,), (mansio,))
                self._excuse(*excuses)
        self._transactions.heard(client, args, redis)
        if name == b"XADD" and redis.startswith(b"$") and b"*" in args:
            for side, raw in zip(self.sides, (redis, mansio), strict=True):
                side.entries.append(raw.split(b"\r\n")[1])
        return None

    def _excuse(self, *differences: known.Difference) -> None:
        for difference in differences:
            self.excused[difference.title] += 1
        if any(difference.parts for difference in differences):
            raise Parted

    def _compare_many(
        self, client: int, step: Step, redis: list[bytes], mansio: list[bytes]
    ) -> Different | None:
        if redis[-1] == GONE and step.kind != "alone":
            self._gone.add(client)
        if self._plant is not None:
            mansio = [self._plant(step.args, raw) for raw in mansio]
        if compare.same_pushes(redis, mansio):
            return None
        excuses = known.excuses_for(step.args, b"".join(redis), b"".join(mansio))
        if excuses:
            self._excuse(*excuses)
            return None
        return Different(self._at, client, step, tuple(redis), tuple(mansio))

    def _audit(self, scenario: Scenario) -> Different | None:
        """At the end everything that there is, as a new client sees it."""
        for subscriber in sorted(scenario.subscribers - self._gone):
            found = self._play(subscriber, [Step(subscriber, (b"PING",))], True)
            if found is not None:
                return found
        if self.restart is not None and (fault := self.restart()):
            again = Step(0, (b"RESTART",))
            return Different(self._at, 0, again, (b"+OK\r\n",), (fault[-1500:].encode(),))
        return self._look()

    def _look(self) -> Different | None:
        """All keys, with their values, types and times, of the first databases."""
        clients = [side.new_client() for side in self.sides]
        for database in (b"0", b"1", b"2"):
            found = self._same_from(clients, (b"SELECT", database))
            found = found or self._same_from(clients, (b"KEYS", b"*"))
            if found is not None:
                return found
            for key in self.redis.keys_of(clients[0]):
                found = self._look_at(clients, key)
                if found is not None:
                    return found
        return None

    def _look_at(self, clients: list[int], key: bytes) -> Different | None:
        kind = self.redis.type_of(clients[0], key)
        asks: list[tuple[bytes, ...]] = [(b"TYPE", key), (b"PTTL", key)]
        if kind == "list":
            asks.append((b"LRANGE", key, b"0", b"-1"))
        elif kind == "string":
            asks.append((b"GET", key))
        elif kind == "stream":
            asks += [
                (b"XRANGE", key, b"-", b"+"),
                (b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"),
            ]
        for args in asks:
            found = self._same_from(clients, args)
            if found is not None:
                return found
        return None

    def _same_from(self, clients: list[int], args: tuple[bytes, ...]) -> Different | None:
        raws = []
        for side, client in zip(self.sides, clients, strict=True):
            side.send(client, side.render(args))
            raws += side.replies(client, 1)
        return self._compare(clients[0], Step(clients[0], args), raws[0], raws[1])
