"""The pure parts of the benchmark: medians, verdicts, tables, what is taken from a run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bench import report, syncs, verdicts, wire
from bench.contenders import CONTENDERS
from bench.footprint import FOOTPRINT_TARGETS, Footprint
from bench.hostile import Outcome, render
from bench.hotspots import innermost
from bench.machine import interpreter_build
from bench.run import DOCUMENT, FOOTPRINT, Options, needed_peers, options
from bench.scenarios import SCENARIOS, Sample, Scenario, Target, disturbance, medians, sample_of
from bench.verdicts import Line, all_met, judge, judge_own

OURS = Sample(
    per_s=2e6, cpu_us=0.5, generator_us=0.2, p50_us=40.0, p99_us=90.0, rss_mib=40.0, ok=True
)
THEIRS = replace(OURS, per_s=1e5, cpu_us=18.0, p50_us=44.0, p99_us=100.0, rss_mib=140.0)


def line(scenario: Scenario, ours: Sample | None, theirs: Sample | None) -> Line:
    """A scenario with Mansio's medians and the same of every rival, as far as there are any."""
    samples = {"mansio": ours} if ours else {}
    samples |= {name: theirs for name in scenario.rivals if theirs}
    return Line(scenario, samples)


def result(**changed: Any) -> dict[str, Any]:
    """An amqpload result, as far as it is used."""
    return {
        "ok": True, "stalled": False, "cons": 1, "con_per_s": 1000, "broker_cpu_us_per_msg": 20.0,
        "self_cpu_us_per_msg": 5.0, "broker_rss_mib": 50.0,
        "broker_cpu_s": 0.5, "wall_s": 2.0,
        "latency_us": {"p50": 1.5, "p99": 2.5}, **changed,
    }  # fmt: skip


def test_sample_counts_cpu_per_delivery() -> None:
    sample = sample_of(result(), copies=10)
    assert (sample.cpu_us, sample.generator_us, sample.per_s) == (2.0, 0.5, 1000.0)
    assert (sample.p50_us, sample.p99_us, sample.ok) == (1.5, 2.5, True)
    assert sample.cores == 0.25


def test_sample_of_confirms() -> None:
    confirmed = result(cons=0, pub_per_s=700, con_per_s=0, confirm_us={"p50": 8.0, "p99": 9.0})
    sample = sample_of(confirmed, 1)
    assert (sample.per_s, sample.p50_us, sample.p99_us) == (700.0, 8.0, 9.0)


@pytest.mark.parametrize("fault", [{"ok": False}, {"stalled": True}])
def test_sample_of_a_failed_run_is_not_ok(fault: dict[str, bool]) -> None:
    assert not sample_of(result(**fault), 1).ok


def test_medians_take_each_number_by_itself() -> None:
    rows = [replace(OURS, per_s=per_s, cpu_us=cpu) for per_s, cpu in ((1, 9), (5, 8), (3, 1))]
    middle = medians(rows)
    assert (middle.per_s, middle.cpu_us, middle.p50_us) == (3, 8, 40.0)


def test_medians_are_ok_only_if_all_runs_are() -> None:
    assert medians([OURS, OURS]).ok
    assert not medians([OURS, replace(OURS, ok=False), OURS]).ok


def test_disturbance_is_a_share_of_all_cores() -> None:
    runs = [
        {"wall_s": 3.0, "other_cpu_s": 0.5, "steal_s": 0.1},
        {"wall_s": 2.0, "other_cpu_s": 0.3, "steal_s": 0.1},
    ]
    assert disturbance(runs, cores=2) == pytest.approx(0.1)
    assert disturbance([], cores=2) == 0.0


@pytest.mark.parametrize(
    ("target", "ours", "met"),
    [
        (Target(rate_ratio_min=20), OURS, True),
        (Target(rate_ratio_min=20), replace(OURS, per_s=1.99e6), False),
        (Target(cpu_us_max=0.5), OURS, True),
        (Target(cpu_us_max=0.49), OURS, False),
        (Target(rate_ratio_min=1, cpu_us_max=0.49), OURS, False),
        (Target(cpu_ratio_max=0.5), replace(OURS, cpu_us=9.0), True),
        (Target(cpu_ratio_max=0.5), replace(OURS, cpu_us=9.1), False),
        (Target(latency_ratio_max=1.0), replace(OURS, p50_us=44.0, p99_us=100.0), True),
        (Target(latency_ratio_max=1.0), replace(OURS, p50_us=45.0), False),
        (Target(latency_ratio_max=1.0), replace(OURS, p99_us=101.0), False),
        (Target(p50_ratio_max=1.0), replace(OURS, p99_us=101.0), True),
        (Target(p50_ratio_max=1.0), replace(OURS, p50_us=45.0), False),
        (Target(p99_us_max=90.0), OURS, True),
        (Target(p99_us_max=89.0), OURS, False),
        (Target(rate_min=2e6), OURS, True),
        (Target(rate_min=2.1e6), OURS, False),
        (Target(cores_max=0.05), replace(OURS, cores=0.05), True),
        (Target(cores_max=0.05), replace(OURS, cores=0.051), False),
        (Target(), replace(OURS, ok=False), False),
    ],
)
def test_verdict(target: Target, ours: Sample, met: bool) -> None:
    verdict = judge(target, ours, THEIRS)
    assert verdict.met is met
    assert bool(verdict.reasons) is not met


def test_verdict_without_a_rival_judges_only_what_it_can() -> None:
    assert judge(Target(cpu_us_max=1.0), OURS, None).met is True
    assert judge(Target(rate_ratio_min=1.0), OURS, None).met is None
    assert judge(Target(rate_ratio_min=1.0, cpu_us_max=0.1), OURS, None).met is False
    assert judge(Target(cpu_us_max=1.0), None, THEIRS).met is None


def test_verdict_against_the_disk() -> None:
    target = Target(disk_ratio_max=2.5)
    assert judge_own(target, OURS, replace(THEIRS, p50_us=16.0)).met is True
    assert judge_own(target, OURS, replace(THEIRS, p50_us=15.0)).met is False
    assert judge_own(target, OURS, None).met is None


def test_a_line_is_judged_against_each_rival_but_not_the_disk() -> None:
    one = next(scenario for scenario in SCENARIOS if scenario.name == "one")
    found = line(one, OURS, THEIRS)
    assert [verdict.met for verdict in found.verdicts()] == [True] * 4
    faster = Line(one, {**found.samples, "rabbitmq-quorum": replace(THEIRS, p50_us=39.0)})
    assert [verdict.met for verdict in faster.verdicts()] == [True, True, True, False]
    slow = Line(one, {**found.samples, "disk-grow": replace(THEIRS, p50_us=15.0)})
    assert slow.verdict_of("mansio").text() == "**missed**: p50 2.7 × the disk's"


def test_a_rival_that_is_only_shown_is_not_judged() -> None:
    scenario = next(one for one in SCENARIOS if one.shown)
    found = line(scenario, OURS, THEIRS)
    found = Line(scenario, {**found.samples, scenario.shown[0]: replace(OURS, per_s=9e9)})
    assert [verdict.met for verdict in found.verdicts()] == [True] * 4
    assert report.durable_table([found]).splitlines()[-1].endswith("|  |  |")


def test_missed_rate_tells_both_ratios() -> None:
    verdict = judge(Target(rate_ratio_min=30), OURS, THEIRS)
    assert verdict.text() == "**missed**: 20.0 × msg/s (36.0 × less CPU)"


def test_footprint_verdicts() -> None:
    limits = {target.field: target for target in FOOTPRINT_TARGETS}
    assert verdicts.judge_footprint(limits["idle_mib"], 45.0).met is True
    assert verdicts.judge_footprint(limits["idle_mib"], 45.1).met is False
    assert verdicts.judge_footprint(limits["idle_mib"], None).met is None
    assert verdicts.judge_footprint(limits["backlog_peak_mib"], 9e9).met is None


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(999.6, "1,000"), (5001, "5,001"), (82_499, "82 k"), (1_640_000, "1.64 M")],
)
def test_rate_text(per_s: float, text: str) -> None:
    assert report.rate_text(per_s) == text


def columns(text: str) -> list[int]:
    return [line.count(" | ") for line in text.splitlines()]


@pytest.mark.parametrize("make", [report.throughput_table, report.latency_table])
@pytest.mark.parametrize(("ours", "theirs"), [(OURS, THEIRS), (OURS, None), (None, THEIRS)])
def test_tables_are_rectangular(
    make: Callable[[list[Line]], str], ours: Sample | None, theirs: Sample | None
) -> None:
    text = make([line(scenario, ours, theirs) for scenario in SCENARIOS])
    assert len(set(columns(text))) == 1
    assert len(text.splitlines()) == len(SCENARIOS) + 2


@pytest.mark.parametrize("make", [report.durable_table, report.confirm_table, report.stream_table])
@pytest.mark.parametrize(("ours", "theirs"), [(OURS, THEIRS), (OURS, None), (None, THEIRS)])
def test_long_tables_have_a_row_for_each_contender(
    make: Callable[[list[Line]], str], ours: Sample | None, theirs: Sample | None
) -> None:
    lines = [line(scenario, ours, theirs) for scenario in SCENARIOS]
    text = make(lines)
    assert len(set(columns(text))) == 1
    assert len(text.splitlines()) == sum(len(one.samples) for one in lines) + 2


def test_throughput_row() -> None:
    text = report.throughput_table([line(SCENARIOS[0], OURS, THEIRS)])
    assert text.splitlines()[-1] == (
        "| 256 B transient, 1 → 1, auto-ack | 2.00 M | 0.50 | 100 k | 18 | 20.0 | 36.0 "
        "| ≥ 20 × msg/s, ≤ 0.6 µs | met |"
    )


def test_durable_rows() -> None:
    scenario = next(one for one in SCENARIOS if one.name == "publish-nats")
    found = Line(scenario, {"mansio": OURS, "nats": THEIRS}, {"mansio": 1234.4})
    assert report.durable_table([found]).splitlines()[2:] == [
        f"| {scenario.title} | Mansio | 2.00 M | – | 0.50 | 0.0 | 0.1 | 1,234 |  |  |",
        "|  | NATS JetStream | 100 k | 20.0 | 18 | 0.0 | 0.1 | – | ≥ 1 × msg/s | met |",
    ]


def test_stream_rows() -> None:
    scenario = next(one for one in SCENARIOS if one.name == "stream-many")
    found = Line(scenario, {"mansio": replace(OURS, per_s=1000.0, cores=0.0444)})
    assert report.stream_table([found]).splitlines()[2:] == [
        f"| {scenario.title} | Mansio | 1,000 | 0.50 | 4.4% | 40 | ≤ 5% of a core | met |",
    ]


def test_streams_are_not_emptied_first() -> None:
    for scenario in SCENARIOS:
        assert scenario.purges is not scenario.name.startswith("stream-")


def test_render_has_facts_tables_and_command() -> None:
    lines = [line(scenario, OURS, THEIRS) for scenario in SCENARIOS]
    prints = {"mansio": Footprint(0.3, 40, 50, 400, 450), "rabbitmq": Footprint(5.0, 130)}
    text = report.render({"Date": "2026-01-02"}, lines, prints, "make bench")
    assert text.startswith("- Date: 2026-01-02\n- Command: `make bench`\n\n| scenario |")
    assert "| idle RSS | 40 MiB | 130 MiB | ≤ 45 MiB | met |" in text
    assert text.count("| scenario |") == 5
    for scenario in SCENARIOS:
        assert text.count(f"| {scenario.title} |") == 1


def test_all_met() -> None:
    good, bad = line(SCENARIOS[0], OURS, THEIRS), line(SCENARIOS[0], THEIRS, OURS)
    assert all_met([good], Footprint(0.1, 1, 1, 1, 1e9))
    assert all_met([good, line(SCENARIOS[0], None, THEIRS)], None)
    assert not all_met([good, bad], None)
    assert not all_met([good], Footprint(0.6))


def test_replace_section_keeps_the_rest() -> None:
    document = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    once = report.replace_section(document, "x", "new\n")
    assert once == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"
    assert report.replace_section(once, "x", "new") == once
    with pytest.raises(ValueError, match="no section y"):
        report.replace_section(document, "y", "new")


def test_the_document_has_the_sections() -> None:
    for name in ("results", "hostile"):
        assert report.replace_section(DOCUMENT.read_text(), name, "text")


def test_scenario_names_are_unique() -> None:
    assert len({scenario.name for scenario in SCENARIOS} | {FOOTPRINT}) == len(SCENARIOS) + 1


def test_rivals_are_contenders() -> None:
    for scenario in SCENARIOS:
        assert set(scenario.rivals) <= set(CONTENDERS)
        assert scenario.kind in report.TABLES


@pytest.mark.parametrize(
    ("arguments", "names", "writes"),
    [
        ([], ["mansio", "rabbitmq"], True),
        (["--no-write"], ["mansio", "rabbitmq"], False),
        (["--quick"], ["mansio", "rabbitmq"], False),
        (["--serve=--sync never"], ["mansio", "rabbitmq"], False),
        (["--only", "4x4", "--write"], [], True),
        (["--only", FOOTPRINT], ["mansio", "rabbitmq"], False),
        (["--peer", "mansio"], ["mansio"], False),
        (["--peer", "mansio", "--pure"], ["mansio-pure"], False),
    ],
)
def test_only_a_full_run_is_written(arguments: list[str], names: list[str], writes: bool) -> None:
    chosen: Options = options(arguments)
    assert (chosen.footprints(), chosen.writes()) == (names, writes)


def test_rabbitmq_alone_has_no_pure_scenario() -> None:
    assert not any(scenario.pure for scenario in options(["--peer", "rabbitmq"]).scenarios())
    assert any(scenario.pure for scenario in options([]).scenarios())


@pytest.mark.parametrize(
    ("arguments", "peers"),
    [
        (["--only", "one"], ["mansio", "rabbitmq"]),
        (["--only", "pure"], ["mansio-pure", "rabbitmq"]),
        (["--only", "one", "--peer", "mansio"], ["mansio"]),
        (["--only", "one", "--peer", "mansio", "--pure"], ["mansio-pure"]),
        (["--only", "one", "--peer", "nats"], []),
        (["--only", FOOTPRINT], []),
    ],
)
def test_only_the_peers_that_take_part_are_started(arguments: list[str], peers: list[str]) -> None:
    assert needed_peers(options(arguments)) == peers


def test_durable_writes_are_summed_over_the_calls() -> None:
    text = (
        "# started\n\n3,,syscalls:sys_enter_fsync,1,100.00,,\n4,,syscalls:sys_enter_pwritev2,1,,\n"
    )
    assert syncs.total(text) == 7
    with pytest.raises(ValueError, match="nothing"):
        syncs.total("# started\n")
    with pytest.raises(ValueError, match="invalid literal"):
        syncs.total("<not counted>,,syscalls:sys_enter_fsync,0,100.00,,\n")


@pytest.mark.parametrize(
    ("arguments", "flags", "debian", "text"),
    [
        ("", "-O2", True, "Debian's build, with PGO and LTO"),
        ("", "-O2", False, "own build, without PGO, without LTO"),
        ("'--enable-optimizations' '--with-lto'", "-O3", False, "own build, with PGO, with LTO"),
        (None, "-fprofile-use -flto", False, "own build, with PGO, with LTO"),
    ],
)
def test_interpreter_build(arguments: str | None, flags: str, debian: bool, text: str) -> None:
    assert interpreter_build(arguments, flags, debian) == text


CALM = Outcome([90.0, 100.0, 300.0], [120.0], [250.0, 300.0, 900.0], 40.0, 90.0, 60.0, {}, True)


def test_hostile_verdict() -> None:
    assert CALM.p99_ratio() == 3.0
    assert CALM.faults() == []
    assert replace(CALM, hostile_p99_us=[301.0]).faults() == ["p99 grew 3.0 times, 3 are allowed"]
    assert replace(CALM, rss_after_mib=60.6).faults() == ["21 MiB stay, 20 are allowed"]
    assert replace(CALM, lossless=False).faults() == ["the well-behaved client lost messages"]


def test_hostile_table() -> None:
    outcome = replace(CALM, attacks={"half-open": {"closed by the broker": 2, "refused": 1}})
    text = render({"mansio": outcome}, 500)
    assert "| mansio | 100 | 120 | 300 | 3.00 | 40 / 90 / 60 | ≤ 3 ×, ≤ 20 MiB more | met |" in text
    assert (
        "| half-open | connects and says nothing | mansio | 2 closed by the broker, 1 refused |"
        in text
    )


def test_innermost_frames() -> None:
    assert innermost("a;b 3\nc;b 1\na 4\n") == [" 50.0 %  b", " 50.0 %  a"]


def test_server_property() -> None:
    table = wire.short("version") + b"S\0\0\0\x063.10.8" + wire.short("x") + b"t\1"
    assert wire.server_property(b"\0\x09" + table, "version") == "3.10.8"
    assert wire.server_property(table, "platform") == ""
