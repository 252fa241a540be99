"""Backups of a log that is written, trimmed and recycled meanwhile, and of logs that are damaged."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mansio.core import records
from mansio.log.directory import DataDirectory, DirectoryError
from mansio.log.segments.layout import FRAME_BYTES, SEAL, decode_frame
from mansio.tools import backup as module
from mansio.tools.backup import BackupError, backup
from mansio.tools.verify import check
from tests.tools.logs import EMPTY, LogMaker, body_place, flip, found_entries, place_of, start


def fill(maker: LogMaker, count: int, name: bytes = b"m") -> list[bytes]:
    bodies = [b"%s %04d" % (name, i) * 100 for i in range(count)]
    for body in bodies:
        maker.publish("q", 1, body)
    return bodies


def snapshot(maker: LogMaker) -> int:
    queue = {"name": "q", "id": 1, "auto_delete": False, "arguments": EMPTY, "next": 0}
    host = {"exchanges": [], "bindings": [], "queues": [queue]}
    change = {"do": "snapshot", "next_queue_id": 2, "vhosts": {"/": host}}
    return maker.append(records.encode_topology(change))


@pytest.fixture
def maker(tmp_path: Path) -> LogMaker:
    maker = LogMaker(tmp_path / "data")
    maker.declare("q", 1)
    return maker


def meanwhile(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Do something when the copy of a segment has just begun, of the one with this number, counted from 0."""
    original = module.copy_permissions
    count = 0

    def copied(source: Path, target: Path) -> None:
        nonlocal count
        original(source, target)
        if count == number:
            act()
        count += 1

    monkeypatch.setattr(module, "copy_permissions", copied)


def test_of_a_log_in_use_and_of_one_that_is_not(maker: LogMaker, tmp_path: Path) -> None:
    bodies = fill(maker, 100)
    out = io.StringIO()
    assert backup(maker.path, tmp_path / "b1", out) == 0
    assert f"{maker.seq} entries in " in out.getvalue()
    more = fill(maker, 10, b"n")
    maker.close()
    assert backup(maker.path, tmp_path / "b2", out) == 0
    assert start(tmp_path / "b1").live == {"q": bodies}
    assert start(tmp_path / "b2").live == {"q": bodies + more}
    for name in os.listdir(tmp_path / "b1" / "log"):
        assert (tmp_path / "b1" / "log" / name).stat().st_nlink == 1


def test_what_is_written_meanwhile_does_not_matter(
    maker: LogMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = fill(maker, 50)
    meanwhile(monkeypatch, 1, lambda: fill(maker, 80, b"later"))
    backup(maker.path, tmp_path / "b")
    maker.close()
    assert start(tmp_path / "b").live == {"q": bodies}


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("recycled", [False, True])
def test_segments_that_are_trimmed_meanwhile(
    maker: LogMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, recycled: bool
) -> None:
    fill(maker, 100, b"old")
    maker.settle(1, 0, 100)
    upto = snapshot(maker) - 1
    bodies = fill(maker, 100, b"new")

    def trim() -> None:
        maker.store.trim(1, upto)
        while maker.store.tend():  # files go one at a time
            pass
        if recycled:
            bodies.extend(fill(maker, 100, b"later"))

    meanwhile(monkeypatch, number, trim)
    backup(maker.path, tmp_path / "b")
    maker.close()
    if not recycled:
        left = {file.name for file in (maker.path / "log").glob("0*.seg")}
        assert {file.name for file in (tmp_path / "b" / "log").iterdir()} == left
    assert start(tmp_path / "b").live == {"q": bodies}


def test_a_segment_that_is_written_over_while_it_is_copied(
    maker: LogMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = maker.store._state.chain
    count = 0
    while len(chain) == 1:
        count += len(fill(maker, 1, b"old"))
    maker.settle(1, 0, count)
    upto = snapshot(maker) - 1
    assert len([segment for segment in chain if segment.last_seq <= upto]) == 1
    (inode,) = [file.stat().st_ino for file in (maker.path / "log").glob("*1.seg")]
    bodies = fill(maker, 40, b"new")

    def recycle() -> None:
        maker.store.trim(1, upto)
        bodies.extend(fill(maker, 100, b"later"))
        segments = (maker.path / "log").glob("0*.seg")
        assert inode in [file.stat().st_ino for file in segments]

    meanwhile(monkeypatch, 0, recycle)
    backup(maker.path, tmp_path / "b")
    maker.close()
    assert start(tmp_path / "b").live == {"q": bodies}


def test_the_copy_is_sealed(maker: LogMaker, tmp_path: Path) -> None:
    fill(maker, 5)
    backup(maker.path, tmp_path / "b")
    maker.close()
    last = found_entries(tmp_path / "b")[-1]
    data = (tmp_path / "b" / "log" / last.name).read_bytes()
    frame = decode_frame(data, last.offset + FRAME_BYTES + last.size, None)
    assert frame is not None
    assert (frame.kind, frame.seq, frame.synced) == (SEAL, last.seq, last.seq)
    flip(*body_place(tmp_path / "b", last.seq))
    assert check(tmp_path / "b").gaps


def test_permissions_are_those_of_the_original(maker: LogMaker, tmp_path: Path) -> None:
    fill(maker, 5)
    maker.close()
    maker.path.chmod(0o711)
    (file,) = (maker.path / "log").glob("0*.seg")
    file.chmod(0o604)
    backup(maker.path, tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").stat().st_mode & 0o777 == 0o711
    assert (tmp_path / "deep" / "b" / "log" / file.name).stat().st_mode & 0o777 == 0o604


def test_a_damaged_log_has_no_backup(maker: LogMaker, tmp_path: Path) -> None:
    fill(maker, 50)
    maker.close()
    flip(*body_place(maker.path, 20))
    with pytest.raises(
        BackupError, match=r"log is damaged: .* entry 20 is lost.*mansio log salvage"
    ):
        backup(maker.path, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    file, offset = place_of(maker.path, maker.seq)
    flip(file, offset)
    with pytest.raises(BackupError, match="mansio log salvage"):
        backup(maker.path, tmp_path / "b")


def test_a_backup_has_both_copies_of_each_header(maker: LogMaker, tmp_path: Path) -> None:
    bodies = fill(maker, 50)
    maker.close()
    flip(sorted((maker.path / "log").glob("0*.seg"))[0], 20)
    assert check(maker.path).gaps
    backup(maker.path, tmp_path / "b")
    assert not check(tmp_path / "b").gaps
    assert start(tmp_path / "b").live == {"q": bodies}


def test_a_failure_leaves_an_empty_folder_empty(
    maker: LogMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(maker, 50)
    maker.close()
    (tmp_path / "b").mkdir()

    def fail() -> None:
        with pytest.raises(DirectoryError, match="that was not completed"):
            DataDirectory(tmp_path / "b").check_format()
        raise OSError(28, "No space left on device")

    meanwhile(monkeypatch, 2, fail)
    with pytest.raises(OSError, match="No space"):
        backup(maker.path, tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []
    monkeypatch.undo()
    backup(maker.path, tmp_path / "b")
    with pytest.raises(DirectoryError, match="is not empty"):
        backup(maker.path, tmp_path / "b")
    assert not check(tmp_path / "b").gaps


def test_a_torn_end_is_not_copied(maker: LogMaker, tmp_path: Path) -> None:
    bodies = fill(maker, 5)
    maker.publish("q", 1, b"torn" * 200)
    maker.directory.release()
    file, offset = body_place(maker.path, maker.seq)
    with open(file, "r+b") as opened:
        opened.seek(offset)
        opened.write(bytes(8000))
    copy = tmp_path / "copy"
    shutil.copytree(maker.path, copy)
    backup(copy, tmp_path / "b")
    assert start(tmp_path / "b").live == {"q": bodies}
