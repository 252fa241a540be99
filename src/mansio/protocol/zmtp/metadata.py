"""What peers say of themselves at the end of a handshake: names and values (RFC 23, 3.2).

name-length 1 | name | value-length 4 | value      repeated
"""

from typing import Final

NAME_BYTES_MAX: Final = 255
_ALLOWED: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.+")
"""Of names, in small letters: case does not count."""


def decode_metadata(data: bytes) -> dict[str, bytes] | None:
    """Values by name, in small letters; of a name that comes twice the first counts. None: this is no metadata."""
    found: dict[str, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        name_end = at + 1 + data[at]
        if name_end == at + 1 or name_end + 4 > end:
            return None
        name = data[at + 1 : name_end].lower()
        at = name_end + 4 + int.from_bytes(data[name_end : name_end + 4], "big")
        if at > end or not _ALLOWED.issuperset(name):
            return None
        found.setdefault(name.decode(), data[name_end + 4 : at])
    return found


def encode_metadata(properties: dict[str, bytes]) -> bytes:
    """The bytes that say this; names are ASCII and have at most 255 letters."""
    return b"".join(
        bytes((len(name),)) + name.encode() + len(value).to_bytes(4, "big") + value
        for name, value in properties.items()
    )
