"""The local socket by which operators' commands reach a running broker: `control.sock` in its data directory.

Who may open it is decided by the file system: the socket is its owner's alone (0600), in a directory that others cannot
enter. A path of a socket has at most some 100 bytes, less than data directories may have: then it is named by way of a
short link to the directory, which is gone as soon as the socket is bound or connected.
"""

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

NAME: Final = "control.sock"
PATH_BYTES_MAX: Final = 100
"""sun_path has 104 bytes on macOS and 108 on Linux, with the zero at its end."""
BACKLOG: Final = 16


def socket_path(data_directory: Path) -> Path:
    """Where the socket of the broker on this directory is."""
    return data_directory / NAME


def listen(data_directory: Path) -> socket.socket:
    """A socket that listens, in the place of one that a broker has left. OSError.

    The caller has made sure that no other broker uses the directory.
    """
    path = socket_path(data_directory)
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is not a socket")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            sock.bind(name)
        path.chmod(0o600)  # nobody can connect before it listens
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(data_directory: Path, timeout_s: float) -> socket.socket:
    """A connection to the broker on this directory. OSError: ConnectionRefusedError or FileNotFoundError where none
    listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        with _short(socket_path(data_directory)) as name:
            sock.connect(name)
    except BaseException:
        sock.close()
        raise
    return sock


def is_listening(data_directory: Path) -> bool:
    """Whether somebody listens there."""
    try:
        connect(data_directory, timeout_s=1.0).close()
    except OSError:
        return False
    return True


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for this path that a socket address has room for."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = tempfile.mkdtemp(prefix="mansio-")
    try:
        link = Path(folder) / "d"
        link.symlink_to(path.parent, target_is_directory=True)
        yield str(link / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
