"""The scenarios, their targets, and what is kept of a run of the load generator."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from statistics import median

from bench.load import Result

TRANSIENT = ("--autoack",)


@dataclass(frozen=True, slots=True)
class Target:
    """What Mansio has to reach; None means that there is no such demand."""

    rate_ratio_min: float | None = None  # messages per second, times each rival's
    latency_ratio_max: float | None = None  # p50 and p99, of each rival's
    p50_ratio_max: float | None = None  # p50 alone, of each rival's
    cpu_ratio_max: float | None = None  # broker CPU per message, of each rival's
    cpu_us_max: float | None = None  # broker CPU per message
    p99_us_max: float | None = None
    disk_ratio_max: float | None = None  # p50, of one durable write to the bare disk
    rate_min: float | None = None  # messages per second
    cores_max: float | None = None  # what the broker takes of a core

    def rival_text(self) -> str:
        """What is demanded in comparison with each rival."""
        parts = []
        if self.rate_ratio_min is not None:
            parts.append(f"≥ {self.rate_ratio_min:g} × msg/s")
        if self.latency_ratio_max is not None:
            parts.append("p50 and p99 no worse")
        if self.p50_ratio_max is not None:
            parts.append("p50 no worse")
        if self.cpu_ratio_max is not None:
            parts.append(f"≤ {self.cpu_ratio_max:g} of its CPU")
        return ", ".join(parts)

    def own_text(self) -> str:
        """What is demanded of Mansio by itself."""
        parts = []
        if self.cpu_us_max is not None:
            parts.append(f"≤ {self.cpu_us_max:g} µs")
        if self.p99_us_max is not None:
            parts.append(f"p99 ≤ {self.p99_us_max / 1e3:g} ms")
        if self.disk_ratio_max is not None:
            parts.append(f"p50 ≤ {self.disk_ratio_max:g} × the disk's")
        if self.rate_min is not None:
            parts.append(f"≥ {self.rate_min / 1e6:g} M/s")
        if self.cores_max is not None:
            parts.append(f"≤ {self.cores_max:.0%} of a core")
        return ", ".join(parts)

    def text(self) -> str:
        """All of it."""
        return ", ".join(part for part in (self.rival_text(), self.own_text()) if part)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load: what amqpload is told, for how long, and what is demanded.

    `kind` decides the table it stands in: throughput, latency (of deliveries), durable (throughput
    with confirms), confirm (latency of confirms), stream.
    """

    name: str
    title: str
    load: tuple[str, ...]
    target: Target
    seconds: float = 3.0
    copies: int = 1  # deliveries of one published message
    kind: str = "throughput"
    pure: bool = False  # Mansio with the codec as plain Python
    rivals: tuple[str, ...] = ("rabbitmq",)  # names of contenders
    beside: tuple[str, ...] = ()  # another load on the same broker at the same time
    ours: tuple[str, ...] = ()  # what only Mansio is asked for
    shown: tuple[str, ...] = ()  # rivals by name that stand there and are not judged
    before: tuple[str, ...] = ()  # a load on the same queues before each run, not measured
    restarts: bool = False  # `before` comes once, and the broker is started anew before each run

    @property
    def settles(self) -> bool:
        """Whether the page cache is written out before each run."""
        return self.kind in ("durable", "confirm", "stream")

    @property
    def purges(self) -> bool:
        """Whether queues are emptied at the beginning: a stream cannot be."""
        return "x-queue-type=stream" not in self.ours


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run, or the medians of several, says about one peer.

    A message counts when it is delivered, or when nobody consumes, when it is confirmed. `cpu_us`
    and `generator_us` are per message. Latencies are in microseconds, from the publish to the
    confirm, or to the delivery where no confirms are asked for.
    """

    per_s: float
    cpu_us: float
    generator_us: float
    p50_us: float
    p99_us: float
    rss_mib: float
    cores: float = 0.0  # the broker's CPU time by the clock's
    ok: bool = True


def sample_of(result: Result, copies: int) -> Sample:
    """The sample in one result of amqpload."""
    latency = result.get("confirm_us") or result.get("latency_us", {})
    return Sample(
        per_s=float(result["con_per_s" if result["cons"] else "pub_per_s"]),
        cpu_us=float(result["broker_cpu_us_per_msg"]) / copies,
        generator_us=float(result["self_cpu_us_per_msg"]) / copies,
        p50_us=float(latency.get("p50", 0)),
        p99_us=float(latency.get("p99", 0)),
        rss_mib=float(result["broker_rss_mib"]),
        cores=float(result["broker_cpu_s"]) / float(result["wall_s"]),
        ok=bool(result["ok"]) and not result["stalled"],
    )


def disturbance(results: Iterable[Result], cores: int) -> float:
    """Share of the machine's CPU time that other processes and the hypervisor took, 0 to 1."""
    rows = list(results)
    span = sum(float(row["wall_s"]) for row in rows) * cores
    taken = sum(float(row["other_cpu_s"]) + float(row["steal_s"]) for row in rows)
    return taken / span if span else 0.0


def medians(samples: Iterable[Sample]) -> Sample:
    """The median of every number by itself; ok only if all are. At least one sample."""
    rows = list(samples)
    numbers = {
        field.name: median(getattr(row, field.name) for row in rows)
        for field in fields(Sample)
        if field.name != "ok"
    }
    return Sample(**numbers, ok=all(row.ok for row in rows))


def _times(ratio: float, cpu_us: float | None = None) -> Target:
    return Target(rate_ratio_min=ratio, cpu_us_max=cpu_us)


NO_WORSE_AT_HALF = Target(latency_ratio_max=1.0, cpu_ratio_max=0.5)
PUBLISH = ("--durable", "--persistent", "--confirm", "1000", "--consumers", "0")
CONFIRMS = (
    *("--durable", "--persistent", "--confirm", "1000"),
    *("--prefetch", "1000", "--ack-every", "1"),
)
CLASSICS = ("rabbitmq-v1", "rabbitmq-v2")
RABBITMQS = (*CLASSICS, "rabbitmq-quorum")
STREAM = ("--qarg", "x-queue-type=stream")
READ = ("--readers", "--prefetch", "10000", "--ack-every", "1000")
COLD_MESSAGES = (2 << 30) // 256
MANY = 1000
DISK = "disk-grow"  # the one that disk_ratio_max speaks of
DISKS = (DISK, "disk-allocated", "disk-rewritten")

SCENARIOS = (
    Scenario(
        "transient-256",
        "256 B transient, 1 → 1, auto-ack",
        (*TRANSIENT, "--size", "256"),
        _times(20, 0.6),
    ),
    Scenario("transient-16", "the same, 16 B", (*TRANSIENT, "--size", "16"), _times(25)),
    Scenario("transient-1k", "the same, 1 KiB", (*TRANSIENT, "--size", "1024"), _times(8)),
    Scenario("transient-16k", "the same, 16 KiB", (*TRANSIENT, "--size", "16384"), _times(2)),
    Scenario(
        "4x4",
        "256 B, 4 publishers × 4 consumers on 4 queues",
        (*TRANSIENT, "--publishers", "4", "--consumers", "4", "--queues", "4"),
        _times(8),
    ),
    Scenario(
        "fan-out",
        "256 B, fan-out 1 → 10 queues (deliveries)",
        (*TRANSIENT, "--exchange", "fanout", "--queues", "10", "--consumers", "10"),
        _times(8),
        copies=10,
    ),
    Scenario(
        "keys",
        "256 B, 10 routing keys interleaved, 10 queues, 10 consumers",
        (*TRANSIENT, "--keys", "10", "--queues", "10", "--consumers", "10"),
        _times(8),
    ),
    Scenario(
        "headers",
        "256 B, every message with other headers and message-id",
        (*TRANSIENT, "--headers"),
        _times(8),
    ),
    Scenario(
        "priorities",
        "256 B transient, each of 10 priorities, x-max-priority 10, auto-ack",
        (*TRANSIENT, "--priorities", "10", "--qarg", "x-max-priority:=10"),
        _times(5),
    ),
    Scenario(
        "expiration",
        "256 B transient, each with an expiration, auto-ack",
        (*TRANSIENT, "--expiration", "60000"),
        _times(5),
    ),
    Scenario(
        "ttl",
        "256 B transient, queue with x-message-ttl, auto-ack",
        (*TRANSIENT, "--qarg", "x-message-ttl:=60000"),
        _times(5),
    ),
    Scenario(
        "pure",
        "256 B transient, 1 → 1, auto-ack, codec in plain Python",
        (*TRANSIENT, "--size", "256"),
        _times(8),
        pure=True,
    ),
    Scenario(
        "latency-1000",
        "256 B transient at 1,000 msg/s",
        (*TRANSIENT, "--rate", "1000"),
        NO_WORSE_AT_HALF,
        seconds=4.0,
        kind="latency",
    ),
    Scenario(
        "latency-5000",
        "256 B transient at 5,000 msg/s",
        (*TRANSIENT, "--rate", "5000"),
        NO_WORSE_AT_HALF,
        seconds=4.0,
        kind="latency",
    ),
    Scenario(
        "confirms",
        "256 B, confirms (window 1000), prefetch 1000, ack each",
        CONFIRMS,
        Target(rate_ratio_min=15, cpu_us_max=2.5, p99_us_max=20e3),
        kind="durable",
        rivals=RABBITMQS,
    ),
    Scenario(
        "confirms-1k",
        "1 KiB, confirms (window 1000), prefetch 1000, ack each",
        (*CONFIRMS, "--size", "1024"),
        Target(rate_ratio_min=10, p99_us_max=20e3),
        kind="durable",
        rivals=RABBITMQS,
    ),
    Scenario(
        "publish",
        "256 B, publish only, confirms (window 1000)",
        PUBLISH,
        _times(15),
        kind="durable",
        rivals=RABBITMQS,
    ),
    Scenario(
        "publish-nats",
        "256 B, publish only, window 1000, beside JetStream",
        PUBLISH,
        _times(1),
        kind="durable",
        rivals=("nats",),
    ),
    Scenario(
        "one",
        "256 B, publish only, one at a time",
        (*PUBLISH, "--confirm", "1"),
        Target(disk_ratio_max=2.5, p50_ratio_max=1.0),
        seconds=2.0,
        kind="confirm",
        rivals=(*RABBITMQS, *DISKS),
    ),
    Scenario(
        "confirms-5000",
        "256 B at 5,000 msg/s, confirms (window 1000), prefetch 1000, ack each",
        (*CONFIRMS, "--rate", "5000"),
        Target(latency_ratio_max=1.0),
        kind="confirm",
        rivals=CLASSICS,
    ),
    Scenario(
        "busy",
        "256 B at 1,000 msg/s, confirms, ack each, beside a flood of transient messages",
        (*CONFIRMS, "--rate", "1000"),
        Target(p99_us_max=20e3),
        kind="confirm",
        rivals=CLASSICS,
        beside=TRANSIENT,
    ),
    Scenario(
        "stream-append",
        "256 B appended to a stream, confirms (window 1000)",
        PUBLISH,
        _times(15),
        kind="durable",
        rivals=(*CLASSICS, "rabbitmq-stream"),
        ours=STREAM,
        shown=("rabbitmq-stream",),
    ),
    Scenario(
        "stream-append-nats",
        "the same beside JetStream",
        PUBLISH,
        _times(1),
        kind="durable",
        rivals=("nats",),
        ours=STREAM,
    ),
    Scenario(
        "stream-readers",
        "a stream, 256 B, 1 writer with confirms, 10 readers that begin 20,000 messages apart (deliveries)",
        (*PUBLISH, *READ, "--consumers", "10", "--offset-step", "20000"),
        Target(rate_min=1.5e6),
        kind="stream",
        rivals=(),
        ours=STREAM,
        before=(*PUBLISH, "--count", "200000"),
    ),
    Scenario(
        "stream-cold",
        "a stream of 2 GiB, 256 B, after a restart, not in memory: 1 reader from its beginning to its end",
        (*READ, "--publishers", "0", "--carg", "x-stream-offset=first", "--durable"),
        Target(rate_min=1e6),
        kind="stream",
        rivals=(),
        ours=STREAM,
        before=(*PUBLISH, "--count"),
        restarts=True,
    ),
    Scenario(
        "stream-many",
        f"{MANY:,} streams, 256 B, each a message a second, evenly spread, 1 publisher with confirms",
        (*PUBLISH, "--queues", str(MANY), "--rate", str(MANY)),
        Target(cores_max=0.05),
        seconds=20.0,
        kind="stream",
        rivals=(),
        ours=STREAM,
    ),
    Scenario(
        "stream-burst",
        "the same, all of a second at once",
        (*PUBLISH, "--queues", str(MANY), "--rate", str(MANY), "--burst", str(MANY)),
        Target(cores_max=0.05),
        seconds=20.0,
        kind="stream",
        rivals=(),
        ours=STREAM,
    ),
)
