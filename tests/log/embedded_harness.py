"""The embedded engine for the conformance suite, with what it needs done behind the engine's back."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path

from mansio.log.base import Log
from mansio.log.embedded import EmbeddedLog, Engine
from mansio.log.segments.files import DiskFiles
from mansio.log.segments.layout import FRAME_BYTES
from mansio.log.segments.scan import Place
from mansio.log.segments.segment import Segment
from mansio.log.segments.settings import StoreSettings, Sync
from mansio.log.segments.store import SegmentStore


class EmbeddedHarness:
    """Handles that share one engine on a new directory."""

    sync: Sync = "always"

    def __init__(self) -> None:
        self.room_bytes = 4 << 20
        self.path = Path(tempfile.mkdtemp(prefix="mansio-"))
        self.settings = StoreSettings(
            segment_bytes=128 << 10, sync=self.sync, bytes_max=self.room_bytes
        )
        self.engine = Engine(self.path, self.settings)

    def handle(self) -> Log:
        return EmbeddedLog(self.path, engine=self.engine, entry_bytes_max=1 << 20)

    async def land(self, entry: bytes) -> int:
        await self.engine.process.close()
        store = self.store()
        try:
            return store.land(entry)
        finally:
            store.close()

    async def damage(self, seq: int, offset: int) -> None:
        segment, place = await self.find(seq)
        with open(self.path / "log" / segment.name, "r+b") as file:
            file.seek(place.offset + FRAME_BYTES + offset)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 0x10]))

    async def lose(self, seq: int) -> None:
        segment, place = await self.find(seq)
        with open(self.path / "log" / segment.name, "r+b") as file:
            file.seek(place.offset + FRAME_BYTES + place.frame.length)
            rest = file.read()
            file.seek(place.offset)
            file.write(rest)

    async def close(self) -> None:
        await self.engine.close()
        shutil.rmtree(self.path)

    def store(self) -> SegmentStore:
        """The store in this process; the engine's own must not run."""
        files = DiskFiles(self.path / "log", self.settings.bytes_max)
        return SegmentStore(files, self.settings, lambda: secrets.randbits(64))

    async def find(self, seq: int) -> tuple[Segment, Place]:
        """Where an entry is, with the engine's own store running again."""
        await self.engine.process.close()
        store = self.store()
        store.close()
        chain = store._state.chain
        segment = next(segment for segment in chain if segment.last_seq >= seq)
        file = DiskFiles(self.path / "log").open(segment.name)
        try:
            place = segment.find(file, seq)
        finally:
            file.close()
        await self.engine.process.start()
        return segment, place


class IntervalHarness(EmbeddedHarness):
    sync = "interval"


class NeverHarness(EmbeddedHarness):
    sync = "never"
