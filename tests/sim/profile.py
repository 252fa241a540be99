"""What a seed decides before the first step: how large the world is, how it is faulty, and what its clients like to do.

Each world leaves some things out and overdoes others, so that rare combinations come up in some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from unittest.mock import patch

from mansio.codec.amqp import WHOLE_BYTES_MAX
from mansio.codec.amqp_values import Table
from mansio.core.limits import Limits
from mansio.log.group_commit import GROUP_BYTES_MAX
from tests.log.faulty import NO_FAULTS, ROUGH, Faults
from tests.sim.stream_profile import group_arguments, stream_arguments

SLOW = Faults(append_ns=(1_000_000, 60_000_000))
STUCK = Faults(append_ns=(100_000, 5_000_000), full=0.2, full_ns=(10_000_000, 300_000_000))
UNLIMITED = 1 << 62


@dataclass(slots=True)
class QueueSpec:
    """How a queue of this name is declared."""

    name: str
    durable: bool
    auto_delete: bool
    exclusive: bool
    arguments: Table


@dataclass(slots=True)
class ExchangeSpec:
    """How an exchange of this name is declared."""

    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Table


class Profile:
    """Drawn from a seed."""

    def __init__(self, rng: Random) -> None:
        self.clients = rng.randint(2, 5)
        self.channels = rng.randint(1, 4)
        self.write_high_bytes = rng.choice((600, 4000, 60_000, 1 << 20))
        self.turn_bytes = rng.choice((300, 3000, 30_000, 1 << 20, 1 << 20))
        self.whole_bytes_max = rng.choice((WHOLE_BYTES_MAX, WHOLE_BYTES_MAX, 300, 80))
        self.large_bytes = rng.choice((20, 4096))
        self.compact_at = rng.choice((2, 512))
        self.routes_max = rng.choice((1, 4, 4096))
        self.cross = rng.random() < 0.4
        """Channels of one connection publish to the same queues, where nobody knows who comes first."""
        self.crashes = rng.choice((0.0, 0.0, 0.004, 0.02))
        """The chance that the broker crashes in a step."""
        self.fenced = rng.random() < 0.04
        """Another owner takes the log away in the middle."""
        self.crowd_bytes = rng.choice((1000, 1 << 22))
        self.memory_bytes_max = rng.choice((UNLIMITED,) * 5 + (8000, 100_000))
        self.faults = rng.choice((NO_FAULTS, NO_FAULTS, ROUGH, SLOW, STUCK))
        self.group_bytes_max = rng.choice((GROUP_BYTES_MAX, GROUP_BYTES_MAX, 300, 3000))
        self.bucket_bytes = rng.choice((300, 300, 300, 3000, 1 << 20))
        """How finely the log is cut off in front."""
        self.turn = rng.choice((0.2, 0.5, 0.5, 1.0))
        """The chance that the turn ends with a step."""
        self.pieces = rng.choice((0.0, 0.2, 0.9))
        """The chance that bytes for the broker arrive in part."""
        self.reads = rng.choice((0.2, 0.6, 1.0))
        """The chance that a client reads."""
        self.step_ns = rng.choice((50_000, 500_000, 5_000_000))
        self.small = rng.choice((0.5, 0.9, 1.0))
        """The chance that a message is smaller than 100 bytes."""
        self.persistent = rng.choice((0.0, 0.5, 0.9))
        self.consumer_timeout_ms = rng.choice((0, 0, 200, 5000, 1_800_000))
        self.grain_ms = rng.choice((5, 100))
        """How often the broker looks for late deliveries at most."""
        asking = rng.choice((0.0, 0.4, 0.8))
        self.rejecting = rng.choice((0, 0, 2))
        """How much more clients reject than most do."""
        trying = rng.choice((0.0, 0.0, 0.3, 0.8))
        streaming = rng.random() < 0.35
        self.repeating = rng.choice((0.0, 0.0, 0.0, 0.2, 0.7))
        """The chance of what looks at the ids of messages, and of messages with such."""
        self.numbering = rng.choice((0.0, 0.0, 0.1, 0.4)) if streaming else self.repeating / 8
        """The chance that messages are numbered by their producers."""
        self.producers: list[tuple[str, str]] = []
        """Who number their messages with care: (name, stream)."""
        self.producers_max = rng.choice((65_536, 65_536, 1, 2))
        """So many of them a stream remembers."""
        self.queues = [_queue(rng, f"q{i}", asking, trying) for i in range(rng.randint(1, 5))]
        self.exchanges = [_exchange(rng, f"x{i}") for i in range(rng.randint(1, 5))]
        self._add_streams(rng, streaming)
        self._deduplicate(rng)
        self.keys = rng.sample(KEYS, rng.randint(1, 4))
        self.patterns = [*rng.sample(PATTERNS, rng.randint(1, 4)), *self.keys]
        system = ("amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.topic")
        self.sources = [spec.name for spec in self.exchanges] + rng.sample(
            system, rng.randint(1, 2)
        )
        """Exchanges that are bound and published to: few, so that much happens to each."""
        self.delaying = rng.choice((0.0, 0.0, 0.0, 0.05, 0.4))
        """The chance that messages are delayed."""
        self.telling = rng.choice((0.0, 0.0, 0.0, 0.1, 0.5))
        """The chance that messages ask for receipts."""
        self._draw_sizes(rng)
        self._draw_access(rng)
        self._add_habits(rng)
        self.sockets = 0.0
        """The share of clients that are ZeroMQ peers."""
        self.draw_sockets(Random(sum(rng.getstate()[1])))

    def _add_habits(self, rng: Random) -> None:
        self.taste = {name: rng.choice((0.0, 0.3, 1.0, 1.0, 3.0)) for name in TASTES}
        if self.partitioned:
            self.taste["team"], self.taste["consume"] = 3.0, 0.3
            self.taste["qos"] = self.taste["close"] = self.taste["cancel"] = 1.0
        self.policing = rng.choice((0.0, 0.0, 0.01, 0.05, 0.2))
        """The chance that an operator changes policies in a step."""

    def draw_sockets(self, rng: Random) -> None:
        """Whether there are ZeroMQ peers; `rng` is one of its own, so that other worlds are what they are without."""
        if not self.access and rng.random() < 0.35:
            self.sockets = rng.choice((0.3, 0.6, 0.9))

    @property
    def plain(self) -> list[QueueSpec]:
        """Queues that are neither streams nor groups."""
        return [spec for spec in self.queues if spec.name.startswith("q")]

    def _draw_access(self, rng: Random) -> None:
        """Whether clients may do everything."""
        self.access = rng.random() < 0.25
        """There are users with few rights, and more than one virtual host."""
        self.ruling = rng.choice((0.03, 0.1, 0.2))
        """The chance that an operator does something in a step, if so."""

    def _draw_sizes(self, rng: Random) -> None:
        """How much the broker keeps in memory, and in one piece."""
        self.page_bytes = rng.choice((0, 0, 1, 200, 3000, 30_000))
        """What stays in memory of messages; 0: all of it."""
        self.part_bytes = rng.choice((1 << 28, 1 << 28, 1 << 28, 500))
        """How much of what is published in a turn goes into one entry of the log."""
        self.loose_max = rng.choice((2, 20, 4096))
        """So many delayed messages are packed."""
        self.depth = rng.choice((1, 2))
        """How many entries may be on their way to the log."""

    def _deduplicate(self, rng: Random) -> None:
        """Some queues and exchanges look at ids."""
        if self.repeating or self.numbering:
            self.cross = False  # else nobody knows which one is the duplicate
        for queue in self.plain:
            if rng.random() < self.repeating:
                deduplicate(rng, queue.arguments, 0.4)
        for exchange in self.exchanges:
            if rng.random() < self.repeating / 2:
                deduplicate(rng, exchange.arguments, 0.6)
                if not exchange.durable and rng.random() < 0.5:
                    exchange.arguments["x-cache-size"] = rng.choice((1, 2, 4))

    def _add_streams(self, rng: Random, streaming: bool) -> None:
        self.window_bytes = rng.choice((8 << 20, 2000, 200))
        """How far ahead is read for who reads a stream from the log."""
        self.partitioned = False
        """Most streams are partitions of a larger one, and most groups of theirs."""
        self.pack_runs = rng.choice((128, 2, 5))
        self.pack_bytes = rng.choice((200, 1000, 256 << 10))
        """How much of a stream is packed at once."""
        if streaming and rng.random() < 0.4:
            self.add_partitions(rng)
        elif streaming:
            streams = self._declare_streams(rng, rng.choice((1, 1, 2)))
            for _ in range(rng.choice((0, 1, 2, 3))):
                self._declare_group(rng, rng.choice(streams), rng.random() < 0.2)

    def add_partitions(self, rng: Random) -> None:
        """Streams among which messages are spread, a group for each, all of which are one, and hardly anything else."""
        self.partitioned = True
        self.queues = self.plain[:2]
        self.exchanges.append(ExchangeSpec(SPREAD, "x-consistent-hash", True, False, False, {}))
        streams = self._declare_streams(rng, rng.choice((2, 3, 4, 6)))
        for name in streams:
            self._declare_group(rng, name, True)
        if rng.random() < 0.5:
            self._declare_group(rng, rng.choice(streams), rng.random() < 0.5)

    def _declare_streams(self, rng: Random, count: int) -> list[str]:
        streams = [f"s{i}" for i in range(count)]
        for name in streams:
            arguments = stream_arguments(rng)
            if self.numbering and rng.random() < 0.8:
                arguments["x-message-deduplication"] = True
                if self.producers_max > 2:
                    self.producers += [(f"{name} {i}", name) for i in range(rng.randint(0, 2))]
            self.queues.append(QueueSpec(name, True, False, False, arguments))
        return streams

    def _declare_group(self, rng: Random, stream: str, partitioned: bool) -> None:
        number = sum("x-stream" in spec.arguments for spec in self.queues)
        durable = rng.random() < 0.8
        arguments = group_arguments(rng, stream, durable)
        if partitioned:
            arguments["x-stream-group"] = "crew" if rng.random() < 0.1 else "team"
        auto_delete = "x-queue-type" not in arguments and rng.random() < 0.1
        self.queues.append(QueueSpec(f"g{number}", durable, auto_delete, False, arguments))

    @contextmanager
    def constants(self) -> Iterator[None]:
        """The broker's constants are as small as the world wants them."""
        with (
            patch("mansio.core.consuming.TURN_BYTES", self.turn_bytes),
            patch("mansio.admin.passwords._is_argon2", return_value=False),
            patch("mansio.core.session.TURN_BYTES", self.turn_bytes),
            patch("mansio.core.journal.PART_BYTES_MAX", self.part_bytes),
            patch("mansio.core.delays.LOOSE_MAX", self.loose_max),
            patch("mansio.core.dispatch.CROWD_BYTES", self.crowd_bytes),
            patch("mansio.core.paging.WINDOW_BYTES", self.window_bytes),
            patch("mansio.core.packing.PACK_RUNS", self.pack_runs),
            patch("mansio.core.packing.SMALL_BYTES", self.pack_bytes),
            patch("mansio.core.packing.PACK_BYTES", self.pack_bytes),
            patch("mansio.core.producers.PRODUCERS_MAX", self.producers_max),
            patch("mansio.core.overdue.GRAIN_MS", (self.grain_ms, 60_000)),
            patch("mansio.core.inflight._COMPACT_AT", self.compact_at),
            patch("mansio.protocol.amqp.connection.ROUTES_MAX", self.routes_max),
            patch("mansio.protocol.amqp.output.LARGE_BYTES", self.large_bytes),
        ):
            yield

    def limits(self) -> Limits:
        """The broker's."""
        return Limits(
            memory_bytes_max=self.memory_bytes_max,
            parked_bytes_max=10_000,
            bucket_bytes=self.bucket_bytes,
            garbage_bytes=self.bucket_bytes * 2,
            page_bytes=self.page_bytes,
            consumer_timeout_ms=self.consumer_timeout_ms,
        )


SPREAD = "xp"
"""The exchange that spreads messages over partitions."""
STANDARD = ("direct", "fanout", "topic", "headers")
SPECIAL = (
    "x-random", "x-local-random", "x-modulus-hash", "x-consistent-hash", "x-recent-history", "x-content",
)  # fmt: skip
KEYS = ("", "a", "b", "a.b", "b.a", "a.b.c", "a.a.b")
PATTERNS = ("#", "*", "a.*", "a.#", "#.b", "*.b.#", "*.*", "#.#", "*.#")

TASTES = (
    "topology", "consume", "get", "cancel", "requeue", "multiple", "tx", "confirm", "close", "cut",
    "recover", "qos", "mistake", "special", "no_wait", "freeze", "delete", "big", "mandatory",
    "reply", "kick", "expire", "priority", "timeout", "sleep", "read", "produce", "team",
)  # fmt: skip
"""Kinds of operations of which a world may have none, few or many."""


LETTER_EXCHANGES = ("", "", "x0", "x1", "x2", "amq.fanout", "nowhere")


RETRIES: tuple[Table, ...] = (
    {"delays": [0]},
    {"delays": [20]},
    {"delays": [1, 300]},
    {"delays": [300, 20, 5000]},
    {"first": 1},
    {"first": 20, "limit": 3},
    {"first": 100, "factor": 3, "max": 1000},
    {"first": 0, "limit": 0},
    {"first": 300, "factor": 1, "jitter": 0.5, "limit": 2},
)


def _queue(rng: Random, name: str, asking: float, trying: float) -> QueueSpec:
    """The chances that its arguments ask for more than a bound, and for retries."""
    arguments: Table = {}
    if rng.random() < 0.15:
        arguments["x-max-length"] = rng.choice((0, 1, 3, 10))
        if rng.random() < 0.5:
            arguments["x-overflow"] = rng.choice(("reject-publish", "drop-head"))
    if rng.random() < 0.1:
        arguments["x-max-length-bytes"] = rng.choice((0, 8, 50, 500))
        arguments["x-overflow"] = rng.choice(("reject-publish", "drop-head"))
    if rng.random() < 0.1:
        arguments["x-single-active-consumer"] = rng.random() < 0.8
    if rng.random() < 0.2:
        arguments["x-consumer-timeout"] = rng.choice((0, 20, 200, 2000))
    if rng.random() < 0.4:
        arguments["x-dispatch-strategy"] = rng.choice(
            ("round-robin", "random", "weighted", "weighted", "least-loaded", "least-loaded")
        )
    exclusive = rng.random() < 0.1
    spec = QueueSpec(name, rng.random() < 0.6, rng.random() < 0.15, exclusive, arguments)
    if rng.random() < asking:
        _ask(rng, spec)
    if rng.random() < trying:
        arguments["x-retry"] = rng.choice(RETRIES)
    return spec


def deduplicate(rng: Random, arguments: Table, timed: float) -> None:
    """`timed`: the chance that ids are remembered for a time."""
    arguments["x-message-deduplication"] = True
    if rng.random() < timed:
        arguments["x-cache-ttl"] = rng.choice((1, 50, 3000, 60_000))


def _ask(rng: Random, spec: QueueSpec) -> None:
    """Arguments that are more than a bound."""
    arguments = spec.arguments
    if rng.random() < 0.4:
        arguments["x-message-ttl"] = rng.choice((0, 1, 20, 300, 5000, 60_000))
    if rng.random() < 0.15:
        arguments["x-expires"] = rng.choice((1, 50, 2000, 60_000))
    if rng.random() < 0.8:
        arguments["x-dead-letter-exchange"] = rng.choice(LETTER_EXCHANGES)
        if rng.random() < 0.6:
            key = rng.choice((*(f"q{i}" for i in range(5)), spec.name, "a", "a.b"))
            arguments["x-dead-letter-routing-key"] = key
        if "x-overflow" in arguments and rng.random() < 0.5:
            arguments["x-overflow"] = "reject-publish-dlx"
    draw = rng.random()
    if draw < 0.25:
        arguments["x-max-priority"] = rng.choice((0, 1, 2, 10))
    elif draw < 0.55:
        spec.durable, spec.exclusive, spec.auto_delete = True, False, False
        if arguments.get("x-overflow") == "reject-publish-dlx":
            arguments["x-overflow"] = "reject-publish"
        arguments["x-queue-type"] = "quorum"
        if rng.random() < 0.9:
            arguments["x-delivery-limit"] = rng.choice((0, 1, 1, 2, 3, 10))


def _exchange(rng: Random, name: str) -> ExchangeSpec:
    arguments: Table = {}
    if rng.random() < 0.25:
        arguments["alternate-exchange"] = f"x{rng.randint(0, 5)}"
    type = rng.choice(STANDARD) if rng.random() < 0.6 else rng.choice(SPECIAL)
    if type == "x-consistent-hash":
        arguments |= rng.choice(({}, {"hash-header": "h"}, {"hash-property": "message_id"}))
    elif type == "x-recent-history":
        arguments["x-recent-history-length"] = rng.choice((1, 2, 5, 30))
    return ExchangeSpec(
        name,
        type,
        rng.random() < 0.5,
        rng.random() < 0.15,
        rng.random() < 0.05,
        arguments,
    )
