"""What info and dump print, and how they read a directory that is in use."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from mansio.core import records
from mansio.log.base import LogError
from mansio.log.directory import DirectoryError
from mansio.log.segments.layout import NewerFormat
from mansio.tools import reading
from mansio.tools.dump import dump
from mansio.tools.info import info, size_text
from mansio.tools.survey import survey
from mansio.tools.tally import Intervals, Positions
from mansio.tools.verify import check
from tests.tools.logs import LogMaker, body_place, flip, lines, publish_record


def printed(path: Path) -> tuple[int, dict[str, str]]:
    out = io.StringIO()
    code = info(path, out)
    return code, {line[:12].strip(): line[13:] for line in out.getvalue().splitlines()}


def test_info(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    maker.declare("gone", 2)
    for i in range(60):
        maker.publish("q", 1, b"a" * 500, b"b" * 500, b"%d" % i)
    maker.publish("gone", 2, b"x")
    maker.change(do="delete queue", name="gone", id=2)
    maker.settle(1, 0, 10, 2)
    code, found = printed(maker.path)
    assert code == 0
    assert found["in use"].startswith("yes, by process ")
    assert found["last stop"] == "a broker is running"
    assert found["entries"] == f"{maker.seq}, seq 1 to {maker.seq}"
    assert found["messages"] == "170 live, 10 settled, in 1 queues"
    assert found["170"].split() == ["10", "/", "q"]
    maker.append(records.encode_topology({"do": records.STOPPED}))
    maker.close()
    code, found = printed(maker.path)
    assert (found["in use"], found["last stop"], found["damage"]) == ("no", "in order", "none")
    flip(*body_place(maker.path, 20))
    code, found = printed(maker.path)
    assert code == 1
    assert found["damage"].endswith("entry 20 is lost")


def test_info_of_streams_and_groups(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare_stream(1, 2)
    maker.declare("q", 3)
    maker.publish("s", 1, *(b"%d" % i for i in range(10)))
    maker.settle(1, 0, 4)
    maker.settle(2, 3, 3)
    maker.settle(2, 8, 1)
    maker.publish("q", 3, b"x")
    maker.close()
    out = io.StringIO()
    info(maker.path, out)
    table = [line.split(maxsplit=2) for line in out.getvalue().splitlines()[-3:]]
    assert table == [
        ["3", "6", "/ g (group of s)"],
        ["1", "0", "/ q"],
        ["6", "4", "/ s (stream)"],
    ]
    assert "messages     7 live, 4 settled, in 2 queues\n" in out.getvalue()


def test_dump_says_everything(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    declared = maker.declare("q", 1)
    seq = maker.append(
        publish_record("x", "k", [(1, 5)], (b"text", b"\xff\xfe")),
        records.encode_settle(1, [(2, 1, 1)]),
    )
    maker.append(records.encode_returned(1, [(0, 2, 1)]))
    maker.close()
    assert lines(maker.path, declared)[1]["change"]["name"] == "q"
    entry, publish, settle, _, returned = lines(maker.path, seq, True)
    assert (entry["seq"], entry["kind"], entry["records"]) == (seq, "entry", 2)
    assert publish == {
        "seq": seq, "kind": "publish", "places": [{"queue": 1, "position": 5}], "messages": [
            {"exchange": "x", "key": "k", "bytes": 4, "properties": {"delivery_mode": 2}, "body": "text"},
            {"exchange": "x", "key": "k", "bytes": 2, "properties": {"delivery_mode": 2}, "body_base64": "//4="},
        ],
    }  # fmt: skip
    assert settle == {"seq": seq, "kind": "settle", "queue": 1, "ranges": [[2, 1, 1]]}
    assert returned["kind"] == "returned"
    assert "body" not in lines(maker.path, seq)[1]["messages"][0]


def test_dump_goes_on_behind_damage(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    for i in range(10):
        maker.publish("q", 1, b"%d" % i)
    maker.close()
    flip(*body_place(maker.path, 8))
    out = io.StringIO()
    assert dump(maker.path, 7, out=out) == 1
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["seq"] for line in found if line["kind"] != "publish"] == [
        *range(7, maker.seq + 1)
    ]
    (damage,) = [line for line in found if line["kind"] == "damage"]
    assert (damage["seq"], damage["last"]) == (8, 8)


def test_a_log_that_is_trimmed_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dump leaves out what went away; verify begins anew."""
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    for i in range(100):
        maker.publish("q", 1, b"%d" % i * 500)
    middle = maker.seq
    for i in range(100):
        maker.publish("q", 1, b"%d" % i * 500)
    original, count = reading.open_piece, 0

    def trimmed(*arguments: object) -> object:
        nonlocal count
        count += 1
        file = original(*arguments)  # type: ignore[arg-type]
        if count == 2:
            maker.store.trim(1, middle)
            for i in range(20):
                maker.publish("q", 1, b"%d" % i * 500)
        return file

    monkeypatch.setattr(reading, "open_piece", trimmed)
    found = lines(maker.path)
    assert not [line for line in found if line["kind"] == "damage"]
    seqs = [line["seq"] for line in found if line["kind"] == "entry"]
    assert seqs == sorted(set(seqs))
    assert set(range(middle + 1, maker.seq + 1)) <= set(seqs)
    assert count > 2
    middle, count = maker.seq - 5, 0
    result = check(maker.path)
    assert result.gaps == []
    maker.close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.close()
    (maker.path / "FORMAT").write_text('{"format": 2}')
    for tool in (check, survey, info):
        with pytest.raises(NewerFormat, match="has format 2; this Mansio reads up to 1"):
            tool(maker.path)


def test_what_is_no_data_directory(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="no folder `log`"):
        check(tmp_path)
    (tmp_path / "log").mkdir()
    with pytest.raises(LogError, match="there is no log in"):
        check(tmp_path)


def test_intervals_count_each_position_once() -> None:
    found = Positions()
    for first in (0, 10, 5):
        found.published.add(first, first + 5)
    found.settle([(4, 2, 1), (8, 3, 5), (20, 5, 1)])
    assert tuple(found.count()) == (11, 4)
    again = Intervals()
    for piece in ((0, 3), (3, 5), (1, 2)):
        again.add(*piece)
    assert again.joined() == [[0, 5]]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


def test_delayed_messages_are_counted_and_shown(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    maker.change(do="keep delays", id=2)
    same = maker.delay(2, [5000], b"a", b"b")
    other = maker.delay(2, [7000, 6000], b"c", b"d")
    maker.settle(2, 0, 1)
    maker.append(records.encode_counted(1, 2, 9000, [(0, 1, 1)]))
    maker.close()
    _, found = printed(maker.path)
    assert found["delayed"] == "3 live, in vhost /"
    assert found["messages"] == "0 live, 0 settled, in 1 queues"
    due = [
        [message["due_ms"] for message in line["messages"]]
        for seq in (same, other)
        for line in lines(maker.path, seq)
        if line["seq"] == seq and line["kind"] == "publish"
    ]
    assert due == [[5000, 5000], [7000, 6000]]
    counted = lines(maker.path)[-1]
    assert (counted["kind"], counted["due_ms"], counted["deliveries"]) == ("counted", 9000, 2)
