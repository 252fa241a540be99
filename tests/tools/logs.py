"""Makes data directories with small segments, record by record, and knows what is in which entry."""

from __future__ import annotations

import io
import json
import secrets
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.core import records
from mansio.core.broker import Broker
from mansio.core.held import Held
from mansio.core.limits import Limits
from mansio.core.restore import Restore
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.log.base import Damaged
from mansio.log.directory import DataDirectory
from mansio.log.entry import encode_entry
from mansio.log.segments.files import DiskFiles
from mansio.log.segments.layout import FRAME_BYTES
from mansio.log.segments.replay import replay_segment
from mansio.log.segments.settings import StoreSettings
from mansio.log.segments.store import SegmentStore
from mansio.tools.dump import dump
from mansio.tools.pieces import Gap
from mansio.tools.reading import Found, read_log
from mansio.tools.survey import survey

SEGMENT_BYTES = 32 << 10
"""Below what users may choose, so that few messages make many segments."""
EMPTY = records.pack_table({})


class TinySettings(StoreSettings):
    """Segments of SEGMENT_BYTES on any file system."""

    def fitted(self, total_bytes: int) -> tuple[int, int]:
        return SEGMENT_BYTES, 0


def token() -> int:
    return secrets.randbits(64)


class LogMaker:
    """Writes what a broker would write. `bodies`: by seq, of what was published in that entry."""

    def __init__(self, path: Path, epoch: int = 1) -> None:
        self.path = path
        self.directory = DataDirectory(path)
        made = self.directory.take()
        self.store = SegmentStore(DiskFiles(path / "log"), TinySettings(), token, not made)
        if not made:
            self.directory.write_format()
        self.epoch = epoch
        self.seq = self.store.open(epoch, 7)
        self.bodies: dict[int, list[bytes]] = {}
        self.positions: dict[int, int] = {}
        self.append(
            records.encode_topology({"do": records.STARTED, "version": "1", "new": not made})
        )

    def append(self, *parts: records.Parts) -> int:
        self.seq = self.store.append(encode_entry(self.epoch, 7, self.seq, parts))
        return self.seq

    def change(self, **change: Any) -> int:
        return self.append(records.encode_topology({"vhost": "/"} | change))

    def declare(self, name: str, number: int) -> int:
        return self.change(
            do="declare queue", name=name, id=number, auto_delete=False, arguments=EMPTY
        )

    def declare_stream(self, stream: int, group: int) -> None:
        """A stream `s`, and a group `g` of it that begins at offset 1."""
        for name, id, arguments, more in (
            ("s", stream, {"x-queue-type": "stream"}, {}),
            ("g", group, {"x-stream": "s"}, {"begin": 1}),
        ):
            packed = records.pack_table(arguments)
            about = {"name": name, "id": id, "auto_delete": False, "arguments": packed}
            self.change(do="declare queue", **about, **more)

    def publish(self, key: str, queue: int, *bodies: bytes, exchange: str = "") -> int:
        base = self.positions.get(queue, 0)
        self.positions[queue] = base + len(bodies)
        seq = self.append(publish_record(exchange, key, [(queue, base)], bodies))
        self.bodies[seq] = list(bodies)
        return seq

    def delay(self, store: int, due_ms: list[int], *bodies: bytes) -> int:
        """Delayed messages, in the store with this id."""
        base = self.positions.get(store, 0)
        self.positions[store] = base + len(bodies)
        seq = self.append(publish_record("", "q", [(store, base)], bodies, due_ms))
        self.bodies[seq] = list(bodies)
        return seq

    def settle(self, queue: int, first: int, count: int, step: int = 1) -> int:
        return self.append(records.encode_settle(queue, [(first, count, step)]))

    def close(self) -> None:
        self.store.close()
        self.directory.release()


def publish_record(
    exchange: str,
    key: str,
    places: list[tuple[int, int]],
    bodies: tuple[bytes, ...],
    due_ms: Sequence[int] = (),
) -> records.Parts:
    method = m.frame(m.FRAME_METHOD, 1, b"\x00\x3c\x00\x28 not read by anyone")
    messages = [
        method
        + m.frame(m.FRAME_HEADER, 1, encode_header_payload(len(body), Properties(delivery_mode=2)))
        + m.frame(m.FRAME_BODY, 1, body)
        for body in bodies
    ]
    stops = [sum(map(len, messages[: i + 1])) for i in range(len(messages))]
    ends = b"".join(stop.to_bytes(4, "little") for stop in stops)
    route = Route(exchange, key, (), channel=1, skip=len(method))
    run = Run(b"".join(messages), len(bodies), 0, ends, (route,), None, True)
    if due_ms:
        run.held = Held(run, due_ms[0] if len(due_ms) == 1 else array("Q", due_ms))
    return records.encode_publish(run, places)


@dataclass
class Start:
    """What a broker's start on a directory comes to. `live`: bodies by queue."""

    error: str = ""
    live: dict[str, list[bytes]] = field(default_factory=dict)
    redelivered: bool = True
    broker: Broker = field(default_factory=lambda: Broker(Limits()))


def start(path: Path) -> Start:
    """Recover, replay and restore as `mansio serve` does, without a process."""
    result = Start()
    directory = DataDirectory(path)
    made = directory.take()
    try:
        store = SegmentStore(DiskFiles(path / "log"), TinySettings(), token, not made)
        try:
            replay = Restore(result.broker)
            for extent in store.extents():
                file = DiskFiles(path / "log").open(extent.name)
                for seq, _, entry in replay_segment(file, extent, 1):
                    if entry is not None:
                        replay.entry(seq, entry.size)
                        for record, offset in zip(entry.records, entry.starts, strict=True):
                            replay.apply(record, offset)
            replay.finish()
        finally:
            store.close()
    except (Damaged, records.Damaged) as error:
        result.error = str(error)
        return result
    finally:
        directory.release()
    for queue in result.broker.vhosts["/"].queues.values():
        live = result.live[queue.name] = []
        for span in queue.ready:
            result.redelivered &= span.redelivered or queue.keeps
            for i in range(span.start, span.stop):
                live.append(_body(span.run.content(i)))
    return result


def _body(content: bytes) -> bytes:
    size = int.from_bytes(content[3:7], "big")
    at = size + 8
    return content[at + 7 : -1]


def found_entries(path: Path) -> list[Found]:
    """Every entry, of a log without damage."""
    return [item for item in read_log(survey(path)) if not isinstance(item, Gap)]


def gaps(path: Path) -> list[Gap]:
    """What cannot be read."""
    seen = survey(path)
    return seen.gaps + [item for item in read_log(seen) if isinstance(item, Gap)]


def flip(path: Path, offset: int, bits: int = 0x10) -> None:
    """Flip bits of one byte of a file; doing it again takes it back."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def place_of(path: Path, seq: int) -> tuple[Path, int]:
    """(file, byte at which the entry's frame begins)."""
    (item,) = [item for item in found_entries(path) if item.seq == seq]
    return path / "log" / item.name, item.offset


def body_place(path: Path, seq: int) -> tuple[Path, int]:
    """(file, a byte in the middle of the entry)."""
    (item,) = [item for item in found_entries(path) if item.seq == seq]
    return path / "log" / item.name, item.offset + FRAME_BYTES + item.size // 2


def lines(path: Path, *args: Any) -> list[dict[str, Any]]:
    """What `mansio log dump` prints."""
    out = io.StringIO()
    dump(path, *args, out=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]
