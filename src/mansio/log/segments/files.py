"""The file layer: all that the store asks of a file system, and the real one behind it.

One `Files` is one flat directory. What survives a power cut is exact, because tests play it:
- `File.pwritev` with durable=True: these bytes, and what is needed to find them again.
- `File.sync`: everything written to the file before.
- `Files.sync_dir`: every `create`, `rename` and `unlink` before.
Everything else may survive or not, in any order. Every method raises OSError, and nothing else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mansio.log.entry import Bytes

if TYPE_CHECKING:
    from pathlib import Path  # whose import takes memory that the log's process need not have

_WRITE_PARTS_MAX = 64
"""Below IOV_MAX, which is 1024 on Linux and may be 16 elsewhere; more parts are joined first."""


class File(Protocol):
    """An open file."""

    def pwritev(self, parts: Sequence[Bytes], offset: int, durable: bool) -> None:
        """Write all parts end to end from offset on."""

    def pread(self, length: int, offset: int) -> bytes:
        """Up to length bytes, fewer only where the file ends."""

    def sync(self) -> None:
        """Make everything written before durable."""

    def uncache(self, offset: int, length: int) -> None:
        """Nobody is going to read this part soon, which is durable: it needs no memory. Never fails."""

    def close(self) -> None:
        """Let go of the file; twice is allowed."""


class Files(Protocol):
    """A directory."""

    def sizes(self) -> dict[str, int]:
        """Every file, with its size in bytes."""

    def create(self, name: str, size: int) -> File:
        """A new file with room for size bytes set aside and durable; not there after an error."""

    def open(self, name: str, write: bool = True) -> File:
        """A file that is there, to read and, if `write`, to write."""

    def rename(self, old: str, new: str) -> None:
        """Give a file a new name, that no other file has."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def sync_dir(self) -> None:
        """Make the names durable."""

    def space(self) -> tuple[int, int]:
        """(free, all) bytes of the file system, as far as this directory may use them."""


class DiskFile:
    """A real file."""

    __slots__ = ("_fd", "_name")

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name

    def pwritev(self, parts: Sequence[Bytes], offset: int, durable: bool) -> None:
        """As File.pwritev. RWF_DSYNC is one call and, beyond 64 KiB, faster than fdatasync."""
        if len(parts) > _WRITE_PARTS_MAX:
            parts = [b"".join(parts)]
        flags = _DSYNC if durable else 0
        left = sum(map(len, parts))
        while left:
            written = os.pwritev(self._fd, parts, offset, flags)
            left -= written
            offset += written
            if left:
                parts = _behind(parts, written)
        if durable:
            if not _DSYNC:
                os.fdatasync(self._fd)
            self._check_name()

    def pread(self, length: int, offset: int) -> bytes:
        """As File.pread."""
        data = os.pread(self._fd, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        left = length - len(data)
        while left and (data := os.pread(self._fd, left, offset + length - left)):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def sync(self) -> None:
        """As File.sync."""
        os.fdatasync(self._fd)
        self._check_name()

    def uncache(self, offset: int, length: int) -> None:
        """As File.uncache."""
        if _DONTNEED is not None:
            try:
                os.posix_fadvise(self._fd, offset, length, _DONTNEED)
            except OSError:
                pass  # it was advice

    def close(self) -> None:
        """As File.close."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check_name(self) -> None:
        """A file that somebody removed can be written and synced, and is gone all the same."""
        if not os.fstat(self._fd).st_nlink:
            raise OSError(errno.ENOENT, "the file was removed", self._name)


class DiskFiles:
    """A real directory. `bytes_max`: what its files may need together; 0 for no limit."""

    __slots__ = ("_bytes_max", "path")

    def __init__(self, path: Path | str, bytes_max: int = 0) -> None:
        self.path = str(path)
        self._bytes_max = bytes_max

    def sizes(self) -> dict[str, int]:
        """As Files.sizes."""
        with os.scandir(self.path) as found:
            return {item.name: item.stat().st_size for item in found if item.is_file()}

    def create(self, name: str, size: int) -> File:
        """As Files.create."""
        path = os.path.join(self.path, name)
        if self._bytes_max and sum(self.sizes().values()) + size > self._bytes_max:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            os.fsync(fd)
        except BaseException:
            os.close(fd)
            os.unlink(path)
            raise
        return DiskFile(fd, name)

    def open(self, name: str, write: bool = True) -> File:
        """As Files.open."""
        flags = os.O_RDWR if write else os.O_RDONLY
        return DiskFile(os.open(os.path.join(self.path, name), flags | os.O_CLOEXEC), name)

    def rename(self, old: str, new: str) -> None:
        """As Files.rename."""
        os.rename(os.path.join(self.path, old), os.path.join(self.path, new))

    def unlink(self, name: str) -> None:
        """As Files.unlink."""
        os.unlink(os.path.join(self.path, name))

    def sync_dir(self) -> None:
        """As Files.sync_dir."""
        sync_directory(self.path)

    def space(self) -> tuple[int, int]:
        """As Files.space."""
        found = os.statvfs(self.path)
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if self._bytes_max:
            used = sum(self.sizes().values())
            return min(free, max(self._bytes_max - used, 0)), min(total, self._bytes_max)
        return free, total


def sync_directory(path: Path | str) -> None:
    """Make the names in a directory durable. Errors: OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _dsync_flag() -> int:
    """RWF_DSYNC where the kernel knows it (Linux 4.7), otherwise 0."""
    flag: int = getattr(os, "RWF_DSYNC", 0)
    if flag:
        try:
            fd = os.memfd_create("mansio")
        except OSError:
            return 0
        try:
            os.pwritev(fd, [b"\0"], 0, flag)
        except OSError:
            return 0
        finally:
            os.close(fd)
    return flag


def _behind(parts: Sequence[Bytes], written: int) -> list[Bytes]:
    """What is left of parts behind the first `written` bytes."""
    left: list[Bytes] = []
    for part in parts:
        if written >= len(part):
            written -= len(part)
        else:
            left.append(memoryview(part)[written:])
            written = 0
    return left


_DSYNC = _dsync_flag()
_DONTNEED: int | None = getattr(os, "POSIX_FADV_DONTNEED", None)  # which macOS has not
