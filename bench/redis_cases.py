"""What is measured beside Redis, what is demanded, and the tables. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench import report

CLIENTS = 50
SIZES = (100, 1024)
PIPELINES = (1, 16)
DATA = "{data}"
LONG_LIST = 1000  # elements where only some are read
SAME_IN_MEMORY = {1: 1.0, 16: 0.9}  # × Redis' requests per second, by pipeline
PURE_IN_MEMORY = 0.5
DURABLE_PUSH = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """One command, with {data} where its bytes go.

    `before`: what has to be there: `value` of a key, a `list`, one `filled` with an element for each request,
    a `listener` on the channel. `measures`: with which command the stored number can be asked for.
    """

    title: str
    words: tuple[str, ...]
    before: str = ""
    writes: bool = True
    measure: str = ""

    @property
    def sized(self) -> bool:
        """Whether the size of the data makes a difference."""
        return DATA in self.words or bool(self.before)

    @property
    def workers(self) -> bool:
        """Whether it is not one command but producers and workers."""
        return not self.words


CASES = (
    Case("PING", ("PING",), writes=False),
    Case("SET", ("SET", "bench:key", DATA)),
    Case("GET", ("GET", "bench:key"), "value", writes=False),
    Case("INCR", ("INCR", "bench:counter")),
    Case("LPUSH", ("LPUSH", "bench:list", DATA), measure="LLEN"),
    Case("RPOP", ("RPOP", "bench:list"), "filled", measure="LLEN"),
    Case("LRANGE 0 99", ("LRANGE", "bench:list", "0", "99"), "list", writes=False),
    Case("XADD", ("XADD", "bench:stream", "*", "field", DATA), measure="XLEN"),
    Case("PUBLISH, one subscriber", ("PUBLISH", "bench:channel", DATA), "listener", writes=False),
    Case("10 × LPUSH → 40 × BRPOP", (), "workers"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A case with a size of its data in bytes, and so many requests at a time from each client."""

    case: Case
    size: int
    pipeline: int

    def title(self) -> str:
        """For the table."""
        return f"{self.case.title}, {size_text(self.size)}" if self.case.sized else self.case.title


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one run, or the medians of several."""

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def cells(durable: bool) -> list[Cell]:
    """All that is measured; where everything is synced, only what is written."""
    return [
        Cell(case, size, pipeline)
        for pipeline in PIPELINES
        for case in CASES
        for size in (SIZES if case.sized else SIZES[:1])
        if (case.writes or not durable) and (pipeline == 1 or not case.workers)
    ]


def target_of(cell: Cell, durable: bool, pure: bool) -> float | None:
    """How many times Redis' rate Mansio has to reach; None where nothing is demanded."""
    if durable:
        return DURABLE_PUSH if cell.case.title == "LPUSH" else None
    return PURE_IN_MEMORY if pure else SAME_IN_MEMORY[cell.pipeline]


def middle(runs: Sequence[Measured]) -> Measured:
    """The median of each number by itself. At least one run."""
    return Measured(
        *(
            median(getattr(run, name) for run in runs)
            for name in ("per_s", "cpu_us", "p50_ms", "p99_ms")
        )
    )


def table(
    order: Iterable[Cell],
    found: Mapping[str, Mapping[Cell, Sequence[Measured]]],
    titles: Mapping[str, str],
    durable: bool,
) -> str:
    """One row for each cell; the first contender is the one that the others are compared with."""
    names = list(found)
    head = [
        "",
        *(each for name in names for each in (f"{titles[name]}: req/s", "CPU µs", "p99 ms")),
    ]
    head += [f"× {titles[name]}" for name in names[1:]] + ["target", ""]
    rows = []
    for cell in order:
        medians = {name: middle(found[name][cell]) for name in names if found[name].get(cell)}
        if names[0] in medians:
            rows.append(_row(cell, names, medians, durable))
    return report.table(head, rows, range(1, len(head) - 2))


def _row(
    cell: Cell, names: Sequence[str], medians: Mapping[str, Measured], durable: bool
) -> list[str]:
    row, ratios, demands, words = [cell.title()], [], [], []
    for name in names:
        one = medians.get(name)
        if one is None:
            row += [report.MISSING] * 3
            continue
        row += [report.rate_text(one.per_s), report.cpu_text(one.cpu_us), f"{one.p99_ms:.2f}"]
    for name in names[1:]:
        if name not in medians:
            ratios.append(report.MISSING)
            continue
        ratio = medians[name].per_s / medians[names[0]].per_s
        ratios.append(f"{ratio:.2f}")
        target = target_of(cell, durable, name.endswith("pure"))
        if target is not None:
            demands.append(f"≥ {target:g}")
            words.append("met" if ratio >= target else "**missed**")
    return [*row, *ratios, ", ".join(demands), ", ".join(words)]


def missed(
    found: Mapping[str, Mapping[Cell, Sequence[Measured]]], durable: bool
) -> list[tuple[str, Cell, float]]:
    """Who did not reach what, and the ratio."""
    names = list(found)
    wrong = []
    for name in names[1:]:
        for cell, runs in found[name].items():
            target = target_of(cell, durable, name.endswith("pure"))
            theirs = found[names[0]].get(cell)
            if target is None or not theirs or not runs:
                continue
            ratio = middle(runs).per_s / middle(theirs).per_s
            if ratio < target:
                wrong.append((name, cell, ratio))
    return wrong


def parse_csv(text: str) -> tuple[float, float, float]:
    """Requests per second, p50 and p99 in ms from `redis-benchmark --csv`. Errors: ValueError."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    if len(lines) < 2:
        raise ValueError(f"redis-benchmark said: {text.strip()[:300]!r}")
    # The first field is the command with its data, which may hold anything.
    rate, _, _, p50, _, p99, _ = (float(each.strip('"')) for each in lines[-1].rsplit(",", 7)[1:])
    return rate, p50, p99


def size_text(size: int) -> str:
    """100 B, 1 KiB."""
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"
