"""Damage at every kind of place: verify finds it and judges as a start would; salvage keeps all the rest."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mansio.log.segments.layout import FRAME_BYTES, HEADER_BYTES, MARK, decode_frame
from mansio.tools.salvage import salvage
from mansio.tools.verify import check, verify
from tests.tools.logs import (
    LogMaker,
    body_place,
    flip,
    found_entries,
    gaps,
    place_of,
    start,
)

BODIES = 150
"""Published one by one to queue q; about five segments."""


class Sample:
    """A directory with queue q and r in several segments, closed in order, of which q's messages are known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.maker = maker = LogMaker(path)
        self.declared = maker.declare("q", 1)
        self.declared_r = maker.declare("r", 2)
        self.published = [maker.publish("q", 1, b"%04d" % i * 150) for i in range(BODIES)]
        self.settled = maker.settle(1, 0, 10)
        self.last = maker.publish("r", 2, b"last one")
        maker.close()

    def without(self, *seqs: int) -> dict[str, list[bytes]]:
        """What should be live when these entries are lost."""
        bodies = self.maker.bodies
        live = [body for seq in self.published if seq not in seqs for body in bodies[seq]]
        gone = [] if self.settled in seqs else [bodies[seq][0] for seq in self.published[:10]]
        return {
            "q": [body for body in live if body not in gone],
            "r": [] if self.last in seqs else [b"last one"],
        }

    def segments(self) -> list[Path]:
        return sorted((self.path / "log").glob("0*.seg"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("original") / "data")


@pytest.fixture
def sample(original: Sample, tmp_path: Path) -> Iterator[Sample]:
    """The same in a copy that may be damaged."""
    copy = tmp_path / "data"
    shutil.copytree(original.path, copy)
    kept, original.path = original.path, copy
    yield original
    original.path = kept


def salvaged(sample: Sample) -> tuple[dict[str, list[bytes]], str]:
    """What a start finds in a salvaged copy, all redelivered, and what salvage said."""
    new, out = sample.path.parent / "new", io.StringIO()
    shutil.rmtree(new, ignore_errors=True)
    assert salvage(sample.path, new, out) == 0
    assert not check(new).gaps
    result = start(new)
    assert not result.error
    assert result.redelivered
    return result.live, out.getvalue()


def verified(sample: Sample) -> tuple[int, str]:
    """verify's exit code and text; a start comes to the same judgement."""
    out = io.StringIO()
    code = verify(sample.path, out)
    copy = sample.path.parent / "started"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sample.path, copy)
    assert check(sample.path).starts == (not start(copy).error)
    return code, out.getvalue()


def test_a_whole_log_has_no_damage(sample: Sample) -> None:
    assert len(sample.segments()) >= 4
    code, text = verified(sample)
    assert code == 0
    assert text.startswith(f"no damage: {sample.last} entries in ")
    live, text = salvaged(sample)
    assert live == sample.without()
    assert "Nothing was skipped." in text


def test_a_flip_in_the_middle_loses_one_entry(sample: Sample) -> None:
    lost = sample.published[60]
    file, offset = body_place(sample.path, lost)
    flip(file, offset)
    code, text = verified(sample)
    assert code == 1
    assert f"{file.name}, byte " in text
    assert f"entry {lost} is lost" in text
    assert f"mansio log salvage {sample.path} NEW" in text
    live, text = salvaged(sample)
    assert live == sample.without(lost)
    assert f"entry {lost} is lost" in text
    assert "marked as redelivered" in text


def test_a_lost_settlement_brings_messages_back(sample: Sample) -> None:
    flip(*body_place(sample.path, sample.settled))
    assert verified(sample)[0] == 1
    live, _ = salvaged(sample)
    assert live == sample.without(sample.settled)
    assert len(live["q"]) == BODIES


def test_a_flip_in_the_sealed_last_entry_is_damage(sample: Sample) -> None:
    flip(*body_place(sample.path, sample.last))
    assert verified(sample)[0] == 1
    assert salvaged(sample)[0] == sample.without(sample.last)


def test_a_flip_in_a_frame_loses_its_entry(sample: Sample) -> None:
    lost = sample.published[100]
    file, offset = place_of(sample.path, lost)
    for byte in (0, 4, 8, 12, 24, 30, 40, 46):
        flip(file, offset + byte)
        assert verified(sample)[0] == 1
        assert [(gap.first, gap.last) for gap in gaps(sample.path) if gap.entries] == [(lost, lost)]
        assert salvaged(sample)[0] == sample.without(lost)
        flip(file, offset + byte)
    assert verified(sample)[0] == 0


def test_one_copy_of_a_header_is_enough(sample: Sample) -> None:
    for offset in (20, HEADER_BYTES // 2 + 300):
        flip(sample.segments()[2], offset)
        code, text = verified(sample)
        assert code == 1
        assert "one of the two copies of the header" in text
        assert "A broker starts on it" in text
        assert salvaged(sample)[0] == sample.without()
        flip(sample.segments()[2], offset)


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_segment_without_any_header_is_still_read(sample: Sample, number: int) -> None:
    file = sample.segments()[number]
    flip(file, 20)
    flip(file, HEADER_BYTES // 2 + 20)
    code, text = verified(sample)
    assert code == 1
    assert f"{file.name}, byte 0" in text
    assert salvaged(sample)[0] == sample.without()


def test_no_header_at_all(sample: Sample) -> None:
    for file in sample.segments():
        flip(file, 20)
        flip(file, HEADER_BYTES // 2 + 20)
    assert verified(sample)[0] == 1
    assert salvaged(sample)[0] == sample.without()


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_segment(sample: Sample, number: int) -> None:
    file = sample.segments()[number]
    lost = [item.seq for item in found_entries(sample.path) if item.name == file.name]
    file.unlink()
    code, text = verified(sample)
    assert code == 1
    assert f"entries {lost[0]} to {lost[-1]} are lost" in text
    live, text = salvaged(sample)
    assert live == sample.without(*lost)
    assert f"entries {lost[0]} to {lost[-1]} are lost" in text


def test_the_first_segment_is_missing_and_with_it_the_declarations(sample: Sample) -> None:
    file = sample.segments()[0]
    lost = [item.seq for item in found_entries(sample.path) if item.name == file.name]
    assert sample.declared in lost
    file.unlink()
    assert verified(sample)[0] == 1
    live, text = salvaged(sample)
    assert live == sample.without(*lost)
    assert "the declaration of a queue is lost" in text


@pytest.mark.parametrize("number", [2, -1])
def test_a_truncated_segment(sample: Sample, number: int) -> None:
    file = sample.segments()[number]
    items = [item for item in found_entries(sample.path) if item.name == file.name]
    kept = len(items) // 2
    with open(file, "r+b") as opened:
        opened.truncate(items[kept].offset + 60)
    lost = [item.seq for item in items[kept:]]
    code, text = verified(sample)
    assert code == 1
    assert f"{file.name}, byte " in text and "the file is shorter" in text
    if number != -1:  # behind the last one, whatever could prove that there was more is gone, too
        assert f"entries {lost[0]} to {lost[-1]} are lost" in text
    assert salvaged(sample)[0] == sample.without(*lost)


def test_zeros_over_several_entries(sample: Sample) -> None:
    first, last = sample.published[40], sample.published[43]
    file, offset = place_of(sample.path, first)
    after, end = place_of(sample.path, last + 1)
    assert file == after
    with open(file, "r+b") as opened:
        opened.seek(offset + 10)
        opened.write(bytes(end - offset - 10))
    assert verified(sample)[0] == 1
    (gap,) = gaps(sample.path)
    assert (gap.first, gap.last, gap.offset, gap.offset + gap.size) == (first, last, offset, end)
    assert salvaged(sample)[0] == sample.without(*range(first, last + 1))


def test_several_places_are_all_found(sample: Sample) -> None:
    lost = [sample.published[i] for i in (3, 50, 51, 149)]
    for place in [body_place(sample.path, seq) for seq in lost]:
        flip(*place)
    found = [(gap.first, gap.last) for gap in gaps(sample.path)]
    assert found == [(seq, seq) for seq in lost]
    assert verified(sample)[0] == 1
    assert salvaged(sample)[0] == sample.without(*lost)


def test_a_lost_declaration_keeps_its_messages(sample: Sample) -> None:
    flip(*body_place(sample.path, sample.declared))
    assert verified(sample)[0] == 1
    live, text = salvaged(sample)
    assert live == sample.without(sample.declared)
    assert "its 140 messages are in queue 'q', durable" in text


def test_a_torn_end_is_not_damage(sample: Sample) -> None:
    maker = LogMaker(sample.path, epoch=2)
    maker.positions = dict(sample.maker.positions)
    last = maker.publish("r", 2, b"torn" * 100)
    maker.directory.release()
    file, offset = place_of(sample.path, last)
    with open(file, "r+b") as opened:
        opened.seek(offset + FRAME_BYTES + 100)
        opened.write(bytes(4000))
    code, text = verified(sample)
    assert code == 0
    assert "nobody was told of it" in text
    assert salvaged(sample)[0] == sample.without()


def test_the_format_file_is_damaged(sample: Sample) -> None:
    (sample.path / "FORMAT").write_text('{"format": ')
    out = io.StringIO()
    assert verify(sample.path, out) == 1
    assert "FORMAT is damaged" in out.getvalue()
    assert salvaged(sample)[0] == sample.without()


def test_a_segment_of_another_log_is_left_out(sample: Sample, tmp_path: Path) -> None:
    other = Sample(tmp_path / "other")
    file = sample.segments()[1]
    lost = [item.seq for item in found_entries(sample.path) if item.name == file.name]
    shutil.copy(other.path / "log" / file.name, file)
    code, text = verified(sample)
    assert code == 1
    assert "another log" in text
    assert salvaged(sample)[0] == sample.without(*lost)


def small(path: Path) -> LogMaker:
    """One segment with a mark in it."""
    maker = LogMaker(path)
    maker.declare("q", 1)
    for i in range(8):
        maker.publish("q", 1, b"%d" % i * 20)
    maker.store._tip.mark()
    maker.settle(1, 0, 2)
    for i in range(8, 12):
        maker.publish("q", 1, b"%d" % i * 20)
    maker.close()
    return maker


def test_any_byte(tmp_path: Path) -> None:
    """Whatever means something is checked; one flip never loses more than one entry."""
    path = tmp_path / "data"
    maker = small(path)
    items = found_entries(path)
    settled = max(maker.bodies) - 4
    end = items[-1].offset + FRAME_BYTES + items[-1].size + FRAME_BYTES  # and the seal
    (file,) = (path / "log").glob("0*.seg")
    spans = [*range(0, 512, 13), *range(4096, 4608, 13), *range(HEADER_BYTES, end, 7)]
    for number, offset in enumerate(spans):
        flip(file, offset, 1 << offset % 8)
        found = check(path)
        assert found.gaps or offset >= end - FRAME_BYTES, offset
        lost = [
            item.seq
            for item in items
            if item.offset <= offset < item.offset + FRAME_BYTES + item.size
        ]
        missing = {seq for gap in found.gaps for seq in range(gap.first, gap.last + 1)}
        assert missing == set(lost), offset
        if number % 10 == 0 and found.gaps:
            new = tmp_path / "new"
            salvage(path, new, io.StringIO())
            gone = {body for seq in lost for body in maker.bodies.get(seq, [])}
            if settled not in lost:
                gone |= {b"0" * 20, b"1" * 20}
            live = start(new).live["q"]
            assert set(live) == {body for each in maker.bodies.values() for body in each} - gone
            assert len(live) == len(set(live))
            shutil.rmtree(new)
        flip(file, offset, 1 << offset % 8)
    assert not check(path).gaps


def test_a_damaged_mark_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data"
    small(path)
    (file,) = (path / "log").glob("0*.seg")
    data = file.read_bytes()
    at = data.find(b"MsFr" + bytes([MARK]))
    frame = decode_frame(data, at, None)
    assert frame is not None
    flip(file, at + 20)
    (gap,) = check(path).gaps
    assert (gap.offset, gap.size, gap.entries) == (at, FRAME_BYTES, 0)
