"""Kinds of values that settings have: each function reads one, from text or as TOML has it, or raises ValueError."""

import re
from collections.abc import Callable
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

DATABASES: Final = ("/", *map(str, range(1, 16)))
"""The virtual hosts of a Redis client's databases 0 to 15, where nothing else is said."""

UNITS: Final = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": GIB << 10,
}  # fmt: skip


def whole(low: int, high: int) -> Callable[[object], int]:
    """Read a whole number in a range, from an int or its decimal text."""

    def parse(value: object) -> int:
        number = int(value) if isinstance(value, str) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[object], float]:
    """Read a number of seconds in a range, from a number or its text."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def one_of(*words: str) -> Callable[[object], str]:
    """Read one of a few words, in any case."""

    def parse(value: object) -> str:
        word = str(value).lower()
        if not isinstance(value, str | float) or word not in words:
            raise ValueError
        return word

    return parse


def text(value: object) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def names(value: object) -> frozenset[str]:
    """Read names, as a list or as text with commas; "none" and an empty list: no name."""
    if isinstance(value, str):
        value = [] if value.strip().lower() == "none" else value.split(",")
    if not isinstance(value, list | frozenset) or not all(isinstance(each, str) for each in value):
        raise ValueError
    found = frozenset(each.strip() for each in value)
    if "" in found:
        raise ValueError
    return found


def databases(value: object) -> tuple[str, ...]:
    """Read which virtual host is which database, 0 to 15: "0=/,1=orders", or a table of TOML; others are DATABASES."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, str):
        pairs = [each.partition("=") for each in value.split(",") if each.strip()]
        value = {number.strip(): name.strip() for number, _, name in pairs}
    if not isinstance(value, dict):
        raise ValueError
    found = list(DATABASES)
    for number, name in value.items():
        found[whole(0, len(found) - 1)(number)] = text(name)
    return tuple(found)


_Z85: Final = (
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)
KEY_CHARACTERS: Final = 40


def curve_key(value: object) -> bytes:
    """Read a key of ZeroMQ's CURVE, 32 bytes: the 40 characters of Z85 (RFC 32) that libzmq makes and takes."""
    if not isinstance(value, str) or len(value) != KEY_CHARACTERS:
        raise ValueError
    key = b""
    for at in range(0, KEY_CHARACTERS, 5):
        number = 0
        for character in value[at : at + 5]:
            number = number * 85 + _Z85.index(character)
        if number >= 1 << 32:
            raise ValueError
        key += number.to_bytes(4, "big")
    return key


def curve_text(key: bytes) -> str:
    """A key as `curve_key` reads it."""
    text = ""
    for at in range(0, len(key), 4):
        number = int.from_bytes(key[at : at + 4], "big")
        text += "".join(_Z85[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text


def curve_users(value: object) -> tuple[tuple[bytes, str], ...]:
    """Read which public key is whose: "ann=KEY,bob=KEY", or a table of TOML with a key, or a list of keys, by name."""
    if isinstance(value, tuple):
        return value
    pairs: list[tuple[str, object]] = []
    if isinstance(value, str):
        for each in filter(None, map(str.strip, value.split(","))):
            pairs.append((each[: -KEY_CHARACTERS - 1].strip(), each[-KEY_CHARACTERS:]))
            if each[-KEY_CHARACTERS - 1 : -KEY_CHARACTERS] != "=":
                raise ValueError
    elif isinstance(value, dict):
        for name, keys in value.items():
            pairs += [(name, key) for key in (keys if isinstance(keys, list) else [keys])]
    else:
        raise ValueError
    found = {curve_key(key): text(name) for name, key in pairs}
    if len(found) < len(pairs):
        raise ValueError
    return tuple(found.items())


def text_or_none(value: object) -> str:
    """Read a text; empty stands for none."""
    if not isinstance(value, str):
        raise ValueError
    return value.strip()


def name_or_none(value: object) -> str:
    """Read a name; "none" and an empty text stand for nobody."""
    name = text_or_none(value)
    return "" if name.lower() == "none" else name


def version(value: object) -> str:
    """Read a version: numbers with points, and whatever stands behind them."""
    if not isinstance(value, str) or not re.fullmatch(r"\d+\.\d+[\w.+-]*", value):
        raise ValueError
    return value


def yes_or_no(value: object) -> bool:
    """Read a switch: true or false, also as text."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError
    return words[value.lower()]


def sync_policy(value: object) -> str:
    """Read when the log is synced: "always", "never" or "interval=MS"."""
    found = re.fullmatch(r"always|never|interval=(\d{1,5})", str(value).lower())
    if not isinstance(value, str) or not found or found[1] == "0":
        raise ValueError
    return found[0]


def size(value: object) -> int:
    """Read a number of bytes: `134217728`, "128MiB" (1024s) or "128MB" (1000s)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)\s*", str(value).lower())
    if not isinstance(value, str) or not found or found[2] not in UNITS:
        raise ValueError
    return int(float(found[1]) * UNITS[found[2]])


def size_between(low: int, high: int) -> Callable[[object], int]:
    """Read a number of bytes in a range."""
    return lambda value: whole(low, high)(size(value))


def watermark(value: object) -> float | int:
    """Read a fraction of the memory (a number up to 1.0, with a point) or a number of bytes."""
    try:
        share = float(value) if isinstance(value, str | float) else None
    except ValueError:
        share = None
    if share is not None and 0.0 < share <= 1.0:
        return share
    return size_between(16 * MIB, 1 << 50)(value)
