"""What salvage makes of topologies with gaps, trimmed logs, and directories that it must not touch."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mansio.core import records
from mansio.log.directory import DirectoryError, LockedError
from mansio.log.entry import encode_entry
from mansio.log.segments.layout import ENTRY, HEADER_BYTES, Frame
from mansio.tools.salvage import salvage
from tests.tools.logs import EMPTY, LogMaker, body_place, flip, publish_record, start


def salvaged(path: Path, lost: list[int]) -> tuple[dict[str, list[bytes]], str]:
    """(live bodies by queue after a start on the salvaged log, what salvage said) without these entries."""
    for place in [body_place(path, seq) for seq in lost]:
        flip(*place)
    out, new = io.StringIO(), path.parent / "new"
    salvage(path, new, out)
    result = start(new)
    assert not result.error
    assert result.redelivered
    return result.live, out.getvalue()


def test_changes_that_do_not_fit_are_left_out_and_said(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    exchange = {"auto_delete": False, "internal": False, "arguments": EMPTY}
    lost = maker.change(do="declare exchange", name="x", type="topic", **exchange)
    maker.declare("q", 1)
    maker.change(do="bind", source="x", destination="q", to="queue", key="#", arguments=EMPTY)
    maker.change(
        do="bind", source="amq.topic", destination="q", to="queue", key="#", arguments=EMPTY
    )
    maker.publish("q", 1, b"kept")
    maker.close()
    live, text = salvaged(maker.path, [lost])
    assert live == {"q": [b"kept"]}
    assert "left out, since it does not fit: bind x to q" in text
    bound = start(tmp_path / "new").broker.vhosts["/"].queues["q"].bindings.values()
    assert [binding.source.name for binding in bound] == ["amq.topic"]


def test_a_lost_deletion_is_made_good_by_the_next_declaration(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    maker.publish("q", 1, b"old")
    lost = maker.change(do="delete queue", name="q", id=1)
    maker.declare("q", 2)
    maker.publish("q", 2, b"new")
    maker.close()
    assert salvaged(maker.path, [lost])[0] == {"q": [b"new"]}


def test_a_lost_deletion_of_a_stream_takes_its_groups_with_it(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare_stream(1, 2)
    maker.publish("s", 1, b"old")
    lost = [maker.change(do="delete queue", name=name, id=id) for name, id in (("g", 2), ("s", 1))]
    maker.change(
        do="declare queue", name="s", id=3, auto_delete=False,
        arguments=records.pack_table({"x-queue-type": "stream"}),
    )  # fmt: skip
    maker.publish("s", 3, b"new")
    maker.close()
    assert salvaged(maker.path, lost)[0] == {"s": [b"new"]}


def test_streams_and_groups_are_as_they_were(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare_stream(1, 2)
    lost = maker.publish("s", 1, b"0", b"1")
    maker.publish("s", 1, b"2", b"3", b"4")
    maker.settle(2, 3, 1)
    maker.close()
    live, _ = salvaged(maker.path, [lost])
    assert live == {"s": [b"2", b"3", b"4"], "g": [b"2", b"4"]}


def test_deleted_queues_stay_deleted(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    maker.declare("other", 2)
    maker.publish("q", 1, b"old")
    maker.change(do="delete queue", name="q", id=1)
    lost = maker.publish("other", 2, b"lost")
    maker.close()
    assert salvaged(maker.path, [lost])[0] == {"other": []}


def test_a_snapshot_mends_everything_before_it(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    lost = maker.declare("q", 1)
    maker.publish("q", 1, b"1")
    maker.change(do="delete queue", name="gone", id=9)
    original = records.encode_topology(
        {"do": "snapshot", "next_queue_id": 12, "vhosts": {"/": {
            "exchanges": [], "bindings": [],
            "queues": [{"name": "renamed", "id": 1, "auto_delete": False, "arguments": EMPTY, "next": 1}],
        }}}
    )  # fmt: skip
    maker.append(original)
    maker.publish("q", 11, b"of a queue that was deleted before the snapshot")
    maker.publish("q", 13, b"of a queue whose declaration was lost")
    maker.close()
    live, text = salvaged(maker.path, [lost])
    assert live == {"renamed": [b"1"], "q": [b"of a queue whose declaration was lost"]}
    assert "left out" not in text
    assert start(tmp_path / "new").broker.definitions.next_queue_id == 14


def test_a_queue_without_a_name_gets_one(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    lost = [maker.declare("a", 1), maker.declare("b", 2)]
    maker.append(publish_record("amq.fanout", "key", [(1, 0), (2, 0)], (b"both",)))
    maker.publish("b", 2, b"settled")
    maker.settle(2, 0, 2)
    maker.close()
    live, text = salvaged(maker.path, lost)
    assert live == {"salvaged-1": [b"both"]}
    assert "its 1 messages are in queue 'salvaged-1'" in text


def test_a_trimmed_log_in_recycled_files(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    for round in range(4):
        snapshot = {"do": "snapshot", "next_queue_id": 2, "vhosts": {"/": {
            "exchanges": [], "bindings": [], "queues": [
                {"name": "q", "id": 1, "auto_delete": False, "arguments": EMPTY, "next": 0}]}}}  # fmt: skip
        upto = maker.append(records.encode_topology(snapshot)) - 1
        bodies = [b"%d %03d" % (round, i) * 100 for i in range(60)]
        first = maker.positions.get(1, 0)
        seqs = [maker.publish("q", 1, body) for body in bodies]
        maker.store.tend()
        if round < 3:
            maker.settle(1, first, len(bodies))
        maker.store.trim(1, upto)
    maker.close()
    live, text = salvaged(maker.path, [seqs[10]])
    assert live == {"q": [*bodies[:10], *bodies[11:]]}
    assert text.count("skipped:") == 1


@pytest.mark.parametrize("header_lost", [False, True])
def test_entries_of_a_given_up_segment_are_not_taken_twice(
    tmp_path: Path, header_lost: bool
) -> None:
    """A write failed, and yet reached the disk; then the entry went to a new segment."""
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    maker.publish("q", 1, b"before")
    before = maker.store._state.chain[-1]
    failed = encode_entry(
        1, 7, maker.seq, [b"".join(publish_record("", "q", [(1, 1)], (b"failed",)))]
    )
    stamp, synced = before.header.stamp, maker.seq
    frame = Frame(ENTRY, len(failed), stamp, maker.seq + 1, synced, 0).encode()
    file = maker.store._files.open(before.name)
    file.pwritev([frame, failed], before.end, True)
    file.close()
    before.spoiled = True
    maker.publish("q", 1, b"behind")
    lost = maker.publish("q", 1, b"lost")
    maker.publish("q", 1, b"last")
    name = maker.store._state.chain[-1].name
    assert name != before.name
    maker.close()
    places = [body_place(maker.path, lost)]
    if header_lost:
        places += [(maker.path / "log" / name, at) for at in (20, HEADER_BYTES // 2 + 20)]
    for place in places:
        flip(*place)
    out = io.StringIO()
    salvage(maker.path, tmp_path / "new", out)
    assert start(tmp_path / "new").live == {"q": [b"before", b"behind", b"last"]}
    assert out.getvalue().count("skipped:") == 1 + header_lost


def test_it_refuses_what_is_in_use_and_what_is_not_empty(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    with pytest.raises(LockedError, match="is in use by process"):
        salvage(maker.path, tmp_path / "new")
    maker.close()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").touch()
    with pytest.raises(DirectoryError, match="is not empty"):
        salvage(maker.path, tmp_path / "new")
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["file"]
    with pytest.raises(DirectoryError, match="is not a data directory"):
        salvage(tmp_path / "nothing", tmp_path / "new2")
    assert not (tmp_path / "new2").exists()


def test_delayed_messages_are_kept_also_without_their_declaration(tmp_path: Path) -> None:
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    lost = maker.change(do="keep delays", id=2)
    maker.delay(2, [5000, 4000], b"a", b"b")
    maker.settle(2, 0, 1)
    maker.close()
    live, text = salvaged(maker.path, [lost])
    assert live == {"q": []} and "the declaration of a queue is lost" not in text
    broker = start(tmp_path / "new").broker
    assert [(each.id, each.key, each.due_ms) for each in broker.delays("/")] == [(1, "q", 4000)]
    assert broker.definitions.next_queue_id == 3
