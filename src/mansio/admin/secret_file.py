"""A secret in a file, as container platforms hand it out."""

from typing import Final

SECRET_BYTES_MAX: Final = 4096


def read_secret(path: str) -> str:
    """The first line of the file; OSError."""
    with open(path, "rb") as file:
        raw = file.readline(SECRET_BYTES_MAX)
    return raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
