"""A data directory that a tool makes: no broker starts on it before it is complete, and after a failure it is gone.

with Target(path, like) as target:     the folder, its lock, and a FORMAT that no broker accepts
    … write target.files …
    target.finish()                    FORMAT is valid
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Final

from mansio.log.directory import DataDirectory, DirectoryError
from mansio.log.segments.files import DiskFiles, sync_directory

_INCOMPLETE: Final = "a copy that was not completed\n"


class Target:
    """`files`: where the segments go."""

    def __init__(self, path: Path, like: Path) -> None:
        """`path`: must not exist, or be empty. `like`: the directory whose permissions it gets."""
        self.path = path
        self._like = like
        self._directory = DataDirectory(path)
        self.files = DiskFiles(self._directory.segments)
        self._made = False
        self._finished = False

    def __enter__(self) -> Target:
        """Make the folder. Errors: DirectoryError."""
        path = self.path
        try:
            if path.is_symlink() or path.exists():
                if not path.is_dir():
                    raise DirectoryError(f"{path} is not a directory")
                if any(path.iterdir()):
                    raise DirectoryError(f"{path} is not empty: name a folder that does not exist")
            else:
                path.mkdir(mode=0o700, parents=True)
                self._made = True
        except OSError as error:
            raise DirectoryError(f"cannot make {path}: {error.strerror}") from None
        try:
            self._directory.take()
            with open(path / "FORMAT", "x", encoding="ascii") as file:
                file.write(_INCOMPLETE)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(path)
        except BaseException:
            self._remove()
            raise
        return self

    def finish(self) -> None:
        """Everything is written: make the names durable, and the directory one that a broker starts on."""
        copy_permissions(self._like, self.path)
        copy_permissions(self._like / "log", self.path / "log")
        sync_directory(self.path / "log")
        self._directory.write_format()
        if (self._like / "FORMAT").exists():
            copy_permissions(self._like / "FORMAT", self.path / "FORMAT")
        sync_directory(self.path)
        sync_directory(self.path.absolute().parent)
        self._finished = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the lock; remove what is not complete."""
        if not self._finished:
            self._remove()
        self._directory.release()

    def _remove(self) -> None:
        for item in list(self.path.iterdir()):
            if item.is_dir():
                shutil.rmtree(item, ignore_errors=True)
            else:
                item.unlink(missing_ok=True)
        if self._made:
            self.path.rmdir()


def copy_permissions(source: Path, target: Path) -> None:
    """Give a file the mode of another one, and its owner where that is allowed. Errors: OSError."""
    found = source.stat()
    try:
        os.chown(target, found.st_uid, found.st_gid)
    except PermissionError:
        pass  # only root may give files away
    os.chmod(target, found.st_mode & 0o7777)
