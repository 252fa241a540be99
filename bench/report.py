"""Verdicts and tables. Pure: results in, text out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.footprint import FOOTPRINT_TARGETS, Footprint, FootprintTarget
from bench.scenarios import Sample, Scenario, Target

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a target is met (None: cannot be said) and what is wrong."""

    met: bool | None
    reasons: tuple[str, ...] = ()

    def text(self) -> str:
        """The word for the table."""
        word = {True: "met", False: "**missed**", None: "not measured"}[self.met]
        return word + (f": {', '.join(self.reasons)}" if self.reasons else "")


@dataclass(frozen=True, slots=True)
class Line:
    """A scenario and the medians of both peers."""

    scenario: Scenario
    mansio: Sample | None
    rival: Sample | None


def judge(target: Target, mansio: Sample | None, rival: Sample | None) -> Verdict:
    """Mansio's medians against the target. A run whose checks failed misses it in any case."""
    if mansio is None:
        return Verdict(None)
    if not mansio.ok:
        return Verdict(False, ("messages lost, repeated, reordered or damaged",))
    reasons, unknown = [], False
    if target.cpu_us_max is not None and mansio.cpu_us > target.cpu_us_max:
        reasons.append(f"{mansio.cpu_us:.2f} µs")
    needs_rival = (target.rate_ratio_min, target.cpu_ratio_max, target.latency_ratio_max)
    if rival is not None:
        reasons += _against_rival(target, mansio, rival)
    elif any(demand is not None for demand in needs_rival):
        unknown = True
    if reasons:
        return Verdict(False, tuple(reasons))
    return Verdict(None if unknown else True)


def _against_rival(target: Target, mansio: Sample, rival: Sample) -> list[str]:
    reasons = []
    if target.rate_ratio_min is not None:
        ratio = _ratio(mansio.per_s, rival.per_s)
        if ratio < target.rate_ratio_min:
            less = _ratio(rival.cpu_us, mansio.cpu_us)
            reasons.append(f"{ratio:.1f} × msg/s ({less:.1f} × less CPU)")
    if target.latency_ratio_max is not None:
        for name, ours, theirs in (
            ("p50", mansio.p50_us, rival.p50_us),
            ("p99", mansio.p99_us, rival.p99_us),
        ):
            if ours > theirs * target.latency_ratio_max:
                reasons.append(f"{name} {_ratio(ours, theirs):.2f} ×")
    if target.cpu_ratio_max is not None and mansio.cpu_us > rival.cpu_us * target.cpu_ratio_max:
        reasons.append(f"{_ratio(mansio.cpu_us, rival.cpu_us):.2f} of its CPU")
    return reasons


def judge_footprint(target: FootprintTarget, value: float | None) -> Verdict:
    """One footprint against its limit; a line without a limit has an empty verdict."""
    if value is None or target.most is None:
        return Verdict(None)
    return Verdict(True) if value <= target.most else Verdict(False)


def _ratio(over: float, under: float) -> float:
    return over / under if under else float("inf")


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
    """Rates and CPU of both peers, their ratios, target and verdict."""
    head = ("scenario", "Mansio msg/s", "CPU µs", "RabbitMQ msg/s", "CPU µs", "× msg/s",
            "× less CPU", "target", "")  # fmt: skip
    return table(head, [_throughput_row(line) for line in lines], range(1, 7))


def _throughput_row(line: Line) -> list[str]:
    cells = [line.scenario.title]
    for sample in (line.mansio, line.rival):
        cells += [rate_text(sample.per_s), cpu_text(sample.cpu_us)] if sample else [MISSING] * 2
    if line.mansio and line.rival:
        cells.append(f"{_ratio(line.mansio.per_s, line.rival.per_s):.1f}")
        cells.append(f"{_ratio(line.rival.cpu_us, line.mansio.cpu_us):.1f}")
    else:
        cells += [MISSING] * 2
    target = line.scenario.target
    return [*cells, target.text(), judge(target, line.mansio, line.rival).text()]


def latency_table(lines: Iterable[Line]) -> str:
    """Latencies of both peers at fixed rates."""
    head = ("scenario", "Mansio p50 µs", "p99 µs", "CPU µs", "RabbitMQ p50 µs", "p99 µs",
            "CPU µs", "target", "")  # fmt: skip
    rows = []
    for line in lines:
        cells = [line.scenario.title]
        for sample in (line.mansio, line.rival):
            if sample is None:
                cells += [MISSING] * 3
            else:
                cells += [f"{sample.p50_us:,.0f}", f"{sample.p99_us:,.0f}", cpu_text(sample.cpu_us)]
        target = line.scenario.target
        rows.append([*cells, target.text(), judge(target, line.mansio, line.rival).text()])
    return table(head, rows, range(1, 7))


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


def render(
    facts: Mapping[str, str],
    lines: Sequence[Line],
    footprints: Mapping[str, Footprint],
    reproduce: str,
) -> str:
    """The whole section: facts, the tables that have lines, and how to repeat it."""
    parts = [facts_list({**facts, "Command": f"`{reproduce}`"})]
    throughput = [line for line in lines if line.scenario.kind == "throughput"]
    latency = [line for line in lines if line.scenario.kind == "latency"]
    if throughput:
        parts.append(throughput_table(throughput))
    if latency:
        parts.append(latency_table(latency))
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


def all_met(lines: Iterable[Line], footprint: Footprint | None) -> bool:
    """Whether no target was missed; what was not measured does not count."""
    verdicts = [judge(line.scenario.target, line.mansio, line.rival) for line in lines]
    if footprint is not None:
        verdicts += [
            judge_footprint(target, getattr(footprint, target.field))
            for target in FOOTPRINT_TARGETS
        ]
    return all(verdict.met is not False for verdict in verdicts)
