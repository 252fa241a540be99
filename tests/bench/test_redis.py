"""The pure parts of the benchmark beside Redis: cells, targets, tables, what redis-benchmark prints."""

import pytest

from bench import redis_cases
from bench.redis import SETTINGS, TITLES, chosen_cells, options
from bench.redis_cases import CASES, Case, Cell, Measured

PRINTED = (
    '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"\n'
    '"LPUSH a "",b","129032.27","0.261","0.056","0.207","0.303","0.543","53.471"\n'
)
BY_TITLE: dict[str, Case] = {case.title: case for case in CASES}


def measured(per_s: float) -> Measured:
    return Measured(per_s, 4.0, 0.2, 0.5)


def test_the_figures_of_a_run_stand_behind_its_command() -> None:
    assert redis_cases.parse_csv(PRINTED) == (129032.27, 0.207, 0.543)


def test_errors_are_no_figures() -> None:
    with pytest.raises(ValueError, match="Connection refused"):
        redis_cases.parse_csv("Could not connect: Connection refused\n")


def test_what_is_measured_where_everything_is_synced_is_written() -> None:
    durable = redis_cases.cells(True)
    assert {cell.case.title for cell in durable} == {case.title for case in CASES if case.writes}
    assert set(durable) < set(redis_cases.cells(False))


def test_sizes_only_where_there_is_data() -> None:
    sizes = {title: set[int]() for title in BY_TITLE}
    for cell in redis_cases.cells(False):
        sizes[cell.case.title].add(cell.size)
    assert sizes["PING"] == sizes["INCR"] == {100}
    assert all(
        found == {100, 1024} for title, found in sizes.items() if title not in ("PING", "INCR")
    )


def test_each_pipeline_and_codec_has_its_target() -> None:
    lpush = BY_TITLE["LPUSH"]
    assert redis_cases.target_of(Cell(lpush, 100, 1), durable=False, pure=False) == 1.0
    assert redis_cases.target_of(Cell(lpush, 100, 16), durable=False, pure=False) == 0.9
    assert redis_cases.target_of(Cell(lpush, 100, 16), durable=False, pure=True) == 0.5
    assert redis_cases.target_of(Cell(lpush, 100, 16), durable=True, pure=False) == 1.0
    assert redis_cases.target_of(Cell(BY_TITLE["SET"], 100, 1), durable=True, pure=False) is None


def test_a_table_says_who_missed_what() -> None:
    cell = Cell(BY_TITLE["SET"], 100, 1)
    found = {
        "redis": {cell: [measured(100_000), measured(1), measured(110_000)]},
        "mansio": {cell: [measured(100_000)]},
        "mansio-pure": {cell: [measured(40_000)]},
    }
    text = redis_cases.table([cell], found, TITLES, durable=False)
    assert text.splitlines()[-1].endswith("| 1.00 | 0.40 | ≥ 1, ≥ 0.5 | met, **missed** |")
    assert redis_cases.missed(found, durable=False) == [("mansio-pure", cell, 0.4)]


def test_a_cell_without_rivals_has_no_row() -> None:
    cell = Cell(BY_TITLE["SET"], 100, 1)
    found = {"redis": {}, "mansio": {cell: [measured(1)]}}
    assert "SET" not in redis_cases.table([cell], found, TITLES, durable=False)
    assert redis_cases.missed(found, durable=False) == []


def test_every_contender_has_a_title() -> None:
    assert {kind.name for kinds in SETTINGS.values() for kind in kinds} == set(TITLES)


def test_the_command_line_chooses() -> None:
    chosen = options(["--only", "lpush", "--pipeline", "16"])
    titles = {cell.title() for cell in chosen_cells(chosen, durable=False)}
    assert titles == {"LPUSH, 100 B", "LPUSH, 1 KiB"}
