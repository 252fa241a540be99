"""Tasks that say which they are: `kind-producer-number-` and a filling. All frames follow from the name.

kinds: P was PUT, T was PUT and need not outlive a restart, C was sent with CALL and expires.
"""

from __future__ import annotations

from random import Random
from typing import Final

PUT, TRANSIENT, CALL = b"P", b"T", b"C"
DONE: Final = b"done"
SIZES: Final = (0, 10, 100, 300, 1_000, 5_000)
_FILLING: Final = Random(0).randbytes(1 << 20)


def name_of(kind: bytes, producer: int, number: int) -> bytes:
    """Of a task."""
    return b"%b-%d-%d-" % (kind, producer, number)


def name_in(body: bytes) -> bytes:
    """The name that a body begins with; something that is none if it does not."""
    return b"-".join(body[:60].split(b"-", 3)[:3]) + b"-"


def place_of(name: bytes) -> tuple[int, int]:
    """Producer and number."""
    _, producer, number, _ = name.split(b"-")
    return int(producer), int(number)


def frames_of(name: bytes) -> list[bytes]:
    """All of a task: one frame mostly; one of some hundreds is large."""
    producer, number = place_of(name)
    x = (producer * 7919 + number * 104_729) % 1_000_003
    size = 200_000 + x % 300_000 if x % 400 == 0 else SIZES[x % len(SIZES)]
    first = name + _FILLING[x % 4096 : x % 4096 + size]
    return [first, *([_FILLING[:n] for n in range(x % 5)] if x % 7 == 0 else [])]


def result_of(name: bytes) -> list[bytes]:
    """What a worker makes of it."""
    return [DONE, name, *frames_of(name)[1:]]
