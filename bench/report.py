"""Tables. Pure: results in, text out."""

from collections.abc import Iterable, Mapping, Sequence

from bench.contenders import CONTENDERS
from bench.footprint import FOOTPRINT_TARGETS, Footprint, FootprintTarget
from bench.scenarios import DISKS, Sample
from bench.verdicts import RIVAL, Line, judge, judge_footprint

MISSING = "–"


def rate_text(per_s: float) -> str:
    """Messages per second in a few digits: 950, 82 k, 1.64 M."""
    if per_s >= 1e6:
        return f"{per_s / 1e6:.2f} M"
    return f"{per_s / 1e3:.0f} k" if per_s >= 1e4 else f"{per_s:,.0f}"


def cpu_text(cpu_us: float) -> str:
    """CPU-µs per message in a few digits."""
    return f"{cpu_us:.2f}" if cpu_us < 10 else f"{cpu_us:.0f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: range) -> str:
    """A Markdown table; the columns in `numbers` are aligned to the right."""
    rules = ["--:" if i in numbers else "---" for i in range(len(head))]
    lines = [head, rules, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def throughput_table(lines: Iterable[Line]) -> str:
    """Rates and CPU of Mansio and its one rival."""
    head = ("scenario", "Mansio msg/s", "CPU µs", "RabbitMQ msg/s", "CPU µs", "× msg/s",
            "× less CPU", "target", "")  # fmt: skip
    return table(head, [_throughput_row(line) for line in lines], range(1, 7))


def _throughput_row(line: Line) -> list[str]:
    cells, ours, theirs = [line.scenario.title], line.mansio, line.samples.get(RIVAL)
    for sample in (ours, theirs):
        cells += [rate_text(sample.per_s), cpu_text(sample.cpu_us)] if sample else [MISSING] * 2
    if ours and theirs:
        cells.append(_ratio_text(ours.per_s, theirs.per_s))
        cells.append(_ratio_text(theirs.cpu_us, ours.cpu_us))
    else:
        cells += [MISSING] * 2
    target = line.scenario.target
    return [*cells, target.text(), judge(target, ours, theirs).text()]


def latency_table(lines: Iterable[Line]) -> str:
    """Latencies of Mansio and its one rival at fixed rates."""
    head = ("scenario", "Mansio p50 µs", "p99 µs", "CPU µs", "RabbitMQ p50 µs", "p99 µs",
            "CPU µs", "target", "")  # fmt: skip
    rows = []
    for line in lines:
        cells, theirs = [line.scenario.title], line.samples.get(RIVAL)
        for sample in (line.mansio, theirs):
            cells += _latency_cells(sample) if sample else [MISSING] * 3
        target = line.scenario.target
        rows.append([*cells, target.text(), judge(target, line.mansio, theirs).text()])
    return table(head, rows, range(1, 7))


def _latency_cells(sample: Sample) -> list[str]:
    cpu = cpu_text(sample.cpu_us) if sample.cpu_us else MISSING
    return [f"{sample.p50_us:,.0f}", f"{sample.p99_us:,.0f}", cpu]


def durable_table(lines: Iterable[Line]) -> str:
    """One row for each contender: rate, CPU, confirm latency, durable writes."""
    head = ("scenario", "broker", "msg/s", "Mansio's ×", "CPU µs", "confirm p50 ms", "p99 ms",
            "durable writes per million", "target", "")  # fmt: skip
    rows = []
    for line in lines:
        for name, sample in line.samples.items():
            ratio = MISSING
            if name != line.ours and line.mansio:
                ratio = _ratio_text(line.mansio.per_s, sample.per_s)
            writes = f"{line.syncs[name]:,.0f}" if name in line.syncs else MISSING
            latencies = [f"{us / 1e3:.1f}" for us in (sample.p50_us, sample.p99_us)]
            cells = [rate_text(sample.per_s), ratio, cpu_text(sample.cpu_us), *latencies, writes]
            rows.append(_contender_row(line, name, cells))
    return table(head, rows, range(2, 8))


def confirm_table(lines: Iterable[Line]) -> str:
    """One row for each contender: confirm latency at a low or fixed rate."""
    head = ("scenario", "broker", "p50 µs", "p99 µs", "CPU µs", "target", "")
    rows = [
        _contender_row(line, name, _latency_cells(sample))
        for line in lines
        for name, sample in line.samples.items()
    ]
    return table(head, rows, range(2, 5))


def stream_table(lines: Iterable[Line]) -> str:
    """One row for each contender: rate, CPU, memory."""
    head = ("scenario", "broker", "msg/s", "CPU µs", "of a core", "RSS MiB", "target", "")
    rows = []
    for line in lines:
        for name, sample in line.samples.items():
            cells = [rate_text(sample.per_s), cpu_text(sample.cpu_us)]
            cells += [f"{sample.cores:.1%}", f"{sample.rss_mib:,.0f}"]
            rows.append(_contender_row(line, name, cells))
    return table(head, rows, range(2, 6))


def _contender_row(line: Line, name: str, cells: list[str]) -> list[str]:
    """The scenario stands in its first row only."""
    title = line.scenario.title if name == next(iter(line.samples)) else ""
    target = line.scenario.target
    demand = target.own_text() if name == line.ours else target.rival_text()
    if name in DISKS or name in line.scenario.shown:
        demand = ""
    word = line.verdict_of(name).text() if demand else ""
    return [title, CONTENDERS[name].title, *cells, demand, word]


def _ratio_text(over: float, under: float) -> str:
    return f"{over / under:.1f}" if under else MISSING


def footprint_table(mansio: Footprint | None, rival: Footprint | None) -> str:
    """Start time and memory."""

    def cell(of: Footprint | None, target: FootprintTarget) -> str:
        value = getattr(of, target.field, None)
        if value is None:
            return MISSING
        return f"{value:.2f} s" if target.unit == "s" else f"{value:,.0f} {target.unit}"

    rows = []
    for target in FOOTPRINT_TARGETS:
        limit = f"≤ {target.most:g} {target.unit}" if target.most is not None else ""
        verdict = judge_footprint(target, getattr(mansio, target.field, None))
        word = verdict.text() if limit else ""
        rows.append([target.title, cell(mansio, target), cell(rival, target), limit, word])
    return table(("", "Mansio", "RabbitMQ", "target", ""), rows, range(1, 3))


def facts_list(facts: Mapping[str, str]) -> str:
    """The facts as a Markdown list."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


TABLES = {
    "throughput": throughput_table,
    "latency": latency_table,
    "durable": durable_table,
    "confirm": confirm_table,
    "stream": stream_table,
}  # by kind of scenario


def render(
    facts: Mapping[str, str],
    lines: Sequence[Line],
    footprints: Mapping[str, Footprint],
    reproduce: str,
) -> str:
    """The whole section: facts, the tables that have lines, and how to repeat it."""
    parts = [facts_list({**facts, "Command": f"`{reproduce}`"})]
    for kind, make in TABLES.items():
        if rows := [line for line in lines if line.scenario.kind == kind and line.samples]:
            parts.append(make(rows))
    if footprints:
        parts.append(footprint_table(footprints.get("mansio"), footprints.get("rabbitmq")))
    return "\n\n".join(parts) + "\n"


def replace_section(document: str, name: str, text: str) -> str:
    """Put `text` between the document's marks of that name. Errors: ValueError without marks."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the document has no section {name}")
    return f"{before}{begin}\n{text.strip()}\n{end}{after}"
