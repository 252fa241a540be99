"""What was measured against what is demanded. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.footprint import FOOTPRINT_TARGETS, Footprint, FootprintTarget
from bench.scenarios import DISK, DISKS, Sample, Scenario, Target

RIVAL = "rabbitmq"  # the one rival of the scenarios that have only one


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
    """A scenario and the medians of its contenders by name; durable writes per million messages."""

    scenario: Scenario
    samples: Mapping[str, Sample]
    syncs: Mapping[str, float] = field(default_factory=dict)

    @property
    def ours(self) -> str:
        """The name of Mansio's contender."""
        return "mansio-pure" if "mansio-pure" in self.samples else "mansio"

    @property
    def mansio(self) -> Sample | None:
        """Mansio's medians."""
        return self.samples.get(self.ours)

    def verdict_of(self, name: str) -> Verdict:
        """Mansio by itself (its own name), or in comparison with a rival."""
        target = self.scenario.target
        if name in self.scenario.shown:
            return Verdict(True)
        if name == self.ours:
            return judge_own(target, self.mansio, self.samples.get(DISK))
        return judge_against(target, self.mansio, self.samples.get(name))

    def verdicts(self) -> list[Verdict]:
        """Of Mansio by itself and of each rival that was measured."""
        names = [name for name in self.samples if name != self.ours and name not in DISKS]
        return [self.verdict_of(name) for name in (self.ours, *names)]


def judge(target: Target, mansio: Sample | None, rival: Sample | None) -> Verdict:
    """Mansio by itself and against one rival."""
    both = (judge_own(target, mansio, None), judge_against(target, mansio, rival))
    if mansio is None or not mansio.ok:
        return both[0]
    reasons = tuple(reason for verdict in reversed(both) for reason in verdict.reasons)
    if reasons:
        return Verdict(False, reasons)
    return Verdict(None if any(verdict.met is None for verdict in both) else True)


def judge_own(target: Target, mansio: Sample | None, disk: Sample | None) -> Verdict:
    """Mansio's medians by themselves. A run whose checks failed misses the target in any case."""
    if mansio is None:
        return Verdict(None)
    if not mansio.ok:
        return Verdict(False, ("messages lost, repeated, reordered or damaged",))
    reasons = []
    if target.cpu_us_max is not None and mansio.cpu_us > target.cpu_us_max:
        reasons.append(f"{mansio.cpu_us:.2f} µs")
    if target.p99_us_max is not None and mansio.p99_us > target.p99_us_max:
        reasons.append(f"p99 {mansio.p99_us / 1e3:.1f} ms")
    if target.rate_min is not None and mansio.per_s < target.rate_min:
        reasons.append(f"{mansio.per_s / 1e6:.2f} M/s")
    if target.cores_max is not None and mansio.cores > target.cores_max:
        reasons.append(f"{mansio.cores:.1%} of a core")
    unknown = target.disk_ratio_max is not None and disk is None
    if target.disk_ratio_max is not None and disk is not None:
        ratio = _ratio(mansio.p50_us, disk.p50_us)
        if ratio > target.disk_ratio_max:
            reasons.append(f"p50 {ratio:.1f} × the disk's")
    if reasons:
        return Verdict(False, tuple(reasons))
    return Verdict(None if unknown else True)


def judge_against(target: Target, mansio: Sample | None, rival: Sample | None) -> Verdict:
    """Mansio's medians in comparison with a rival's."""
    if not target.rival_text():
        return Verdict(True)
    if mansio is None or rival is None:
        return Verdict(None)
    reasons = []
    if target.rate_ratio_min is not None:
        ratio = _ratio(mansio.per_s, rival.per_s)
        if ratio < target.rate_ratio_min:
            less = _ratio(rival.cpu_us, mansio.cpu_us)
            reasons.append(f"{ratio:.1f} × msg/s ({less:.1f} × less CPU)")
    for name, ours, theirs, limits in (
        ("p50", mansio.p50_us, rival.p50_us, (target.latency_ratio_max, target.p50_ratio_max)),
        ("p99", mansio.p99_us, rival.p99_us, (target.latency_ratio_max,)),
    ):
        if any(limit is not None and ours > theirs * limit for limit in limits):
            reasons.append(f"{name} {_ratio(ours, theirs):.2f} ×")
    if target.cpu_ratio_max is not None and mansio.cpu_us > rival.cpu_us * target.cpu_ratio_max:
        reasons.append(f"{_ratio(mansio.cpu_us, rival.cpu_us):.2f} of its CPU")
    return Verdict(not reasons, tuple(reasons))


def judge_footprint(target: FootprintTarget, value: float | None) -> Verdict:
    """One footprint against its limit; a line without a limit has an empty verdict."""
    if value is None or target.most is None:
        return Verdict(None)
    return Verdict(True) if value <= target.most else Verdict(False)


def all_met(lines: Iterable[Line], footprint: Footprint | None) -> bool:
    """Whether no target was missed; what was not measured does not count."""
    verdicts = [verdict for line in lines for verdict in line.verdicts()]
    if footprint is not None:
        verdicts += [
            judge_footprint(target, getattr(footprint, target.field))
            for target in FOOTPRINT_TARGETS
        ]
    return all(verdict.met is not False for verdict in verdicts)


def _ratio(over: float, under: float) -> float:
    return over / under if under else float("inf")
