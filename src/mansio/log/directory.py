"""A data directory: who may use it, and which layout it has.

    LOCK      locked (flock) by the broker and the process of its store; holds the broker's pid
    FORMAT    {"format": 1}, written when the first segment was durable
    log/      segment files, see segments/layout.py

Changing this layout: raise FORMAT_VERSION, keep `check_format` able to tell older ones apart, and
say in CHANGELOG.md from which release on older builds refuse the directory.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from mansio.log.base import LogError
from mansio.log.segments.files import sync_directory
from mansio.log.segments.layout import NewerFormat

FORMAT_VERSION: Final = 1


class DirectoryError(LogError):
    """The data directory cannot be used. The text says why, for people."""


class LockedError(DirectoryError):
    """Another process uses the directory. `pid`: its number, None if it has left none."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{path} is in use by {who}")
        self.pid = pid


class DataDirectory:
    """`lock_fd`: the lock, to be inherited by the store's process; None while it is not held."""

    def __init__(self, path: Path) -> None:
        """Nothing is touched yet."""
        self.path = path
        self.lock_fd: int | None = None

    @property
    def segments(self) -> Path:
        """Where the segments are."""
        return self.path / "log"

    def take(self) -> bool:
        """Make the directory if it is missing, lock it and check its format.

        Answers whether the log in it was made before. Errors: LockedError, NewerFormat,
        DirectoryError.
        """
        try:
            self.path.mkdir(
                mode=0o700, parents=True, exist_ok=True
            )  # hashes of passwords are in it
            self.segments.mkdir(mode=0o700, exist_ok=True)
            if not (self.path / "FORMAT").exists():
                self._sync_names()
            self._lock()
        except FileExistsError:
            raise DirectoryError(f"{self.path} or {self.segments} is not a directory") from None
        except NotADirectoryError:
            raise DirectoryError(f"{self.path} is not a directory") from None
        except OSError as error:
            raise DirectoryError(f"cannot use the data directory {self.path}: {error}") from error
        try:
            return self.check_format()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go of the lock; a process that inherited it keeps it."""
        if self.lock_fd is not None:
            os.close(self.lock_fd)
            self.lock_fd = None

    def write_format(self) -> None:
        """Say that the log has been made. Errors: DirectoryError."""
        try:
            temporary = self.path / "FORMAT.new"
            with open(temporary, "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(json.dumps({"format": FORMAT_VERSION}) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.path / "FORMAT")
            sync_directory(self.path)
        except OSError as error:
            raise DirectoryError(f"cannot write {self.path}/FORMAT: {error}") from error

    def holder(self) -> tuple[bool, int | None]:
        """(is the directory in use?, by which process, if that is known). Changes nothing.

        Errors: DirectoryError.
        """
        try:
            os.close(self._flock(fcntl.LOCK_SH))
        except BlockingIOError:
            return True, self._pid()
        except FileNotFoundError:
            return False, None
        except OSError as error:
            raise DirectoryError(f"cannot lock {self.path}: {error}") from error
        return False, None

    def check_format(self) -> bool:
        """Was the log in it made before, in a format that this Mansio reads?

        Errors: NewerFormat, DirectoryError.
        """
        path = self.path / "FORMAT"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise DirectoryError(f"cannot read {path}: {error}") from error
        try:
            version = int(json.loads(text)["format"])
        except (ValueError, KeyError, TypeError, OverflowError):
            raise DirectoryError(f"{path} is damaged: {text[:80]!r}") from None
        if version > FORMAT_VERSION:
            raise NewerFormat(
                f"{self.path} has format {version}; this Mansio reads up to {FORMAT_VERSION}: "
                "use the newer one"
            )
        return True

    def _sync_names(self) -> None:
        """Make the names of all folders that this start, or one that was cut short, may have made
        durable. They are of one file system, and one that cannot be read was there before."""
        device = self.path.stat().st_dev
        for folder in (self.path, *self.path.absolute().parents):
            if folder.stat().st_dev != device:
                break
            try:
                sync_directory(folder)
            except PermissionError:
                break

    def _lock(self) -> None:
        path = self.path / "LOCK"
        path.touch(0o600)
        try:
            self.lock_fd = self._flock(fcntl.LOCK_EX)
        except BlockingIOError:
            raise LockedError(self.path, self._pid()) from None
        with suppress(OSError):  # the disk may be full, and it is for people to read
            path.write_text(f"{os.getpid()}\n", encoding="ascii")

    def _flock(self, how: int) -> int:
        """Lock the directory itself, which nobody removes by mistake; where its file system cannot do that, as NFS
        for want of a file to write to, the file LOCK. Answers the descriptor. Errors: BlockingIOError, OSError."""
        try:
            return _flocked(self.path, os.O_RDONLY, how)
        except BlockingIOError:
            raise
        except OSError:
            mode = os.O_RDWR if how == fcntl.LOCK_EX else os.O_RDONLY
            return _flocked(self.path / "LOCK", mode, how)

    def _pid(self) -> int | None:
        """Who holds the lock, if it is known."""
        try:
            text = (self.path / "LOCK").read_text(errors="replace").strip()
        except OSError:
            return None
        return int(text) if text.isdigit() else None


def _flocked(path: Path, mode: int, how: int) -> int:
    fd = os.open(path, mode | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


def process_is_there(pid: int) -> bool:
    """Is there a process with this number?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
