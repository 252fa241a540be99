"""What an owner of a data directory may choose."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from mansio.log.segments.layout import HEADER_BYTES

Sync = Literal["always", "interval", "never"]

SEGMENT_BYTES_MIN: Final = 128 << 10
SEGMENT_SHARE: Final = 16
"""A segment is at most this part of its file system: the log, its spares and the tail need room."""
FREE_SHARE: Final = 16
"""The limit of free space is at most this part of the file system."""


class StoreSettings(NamedTuple):
    """`segment_bytes`: of a segment file, less on a small file system.

    `sync`: "always" syncs every entry before it is answered, "interval" at least every
    `interval_ms` while something is not synced, "never" only at the end of a segment.
    `disk_free_min_bytes`: below it the log reports `low`; at most a 16th of the file system.
    `bytes_max`: what the files may need together, 0 for no limit but the file system's.
    `scratch`: what an earlier run left is deleted at the start, and nothing is ever synced.
    """

    segment_bytes: int = 16 << 20
    sync: Sync = "always"
    interval_ms: int = 100
    disk_free_min_bytes: int = 50 << 20
    bytes_max: int = 0
    scratch: bool = False

    def fitted(self, total_bytes: int) -> tuple[int, int]:
        """(bytes of a segment, limit of free bytes) on a file system of total_bytes."""
        segment_bytes = max(
            min(self.segment_bytes, total_bytes // SEGMENT_SHARE), SEGMENT_BYTES_MIN
        )
        segment_bytes -= segment_bytes % HEADER_BYTES
        return segment_bytes, min(self.disk_free_min_bytes, total_bytes // FREE_SHARE)
