"""What the fuzz targets share: reading choices from bytes, running under atheris, running without.

A target is a module with

    NAME        str
    seeds()     inputs to begin with
    run(data)   one execution: any exception that leaves it is a finding

`python tests/fuzz/fuzz_NAME.py [libFuzzer options]` fuzzes it with coverage (atheris); see run.py
for all of them. Without atheris, `mutate` makes inputs from a seed number: no coverage, but the
same checks; test_fuzz_smoke.py runs that under pytest.
"""

from __future__ import annotations

import gc
import importlib
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
CRASHES = HERE / "crashes"
INPUT_BYTES_MAX = 4096


class Target(Protocol):
    """See above."""

    NAME: str

    def seeds(self) -> list[bytes]: ...

    def run(self, data: bytes) -> None: ...


class Choices:
    """Reads decisions from fuzz input, so that a mutation of the input changes one decision.
    Past the end every decision is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """0 to 255."""
        at = self._at
        self._at = at + 1
        return self._data[at] if at < len(self._data) else 0

    def below(self, bound: int) -> int:
        """0 to bound - 1; bound is at most 65536."""
        if bound <= 256:
            return self.byte() % bound
        return (self.byte() << 8 | self.byte()) % bound

    def bit(self) -> bool:
        return bool(self.byte() & 1)

    def take(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        at = self._at
        self._at = min(at + size, len(self._data))
        return self._data[at : self._at]

    def some(self) -> bytes:
        """A short row of bytes with its length in front."""
        return self.take(self.byte() & 63)


def mutate(rng: random.Random, seeds: list[bytes]) -> bytes:
    """An input made of one or two seeds by the usual mutations, or of nothing but chance."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randint(1, INPUT_BYTES_MAX // 4))
    data = bytearray(rng.choice(seeds))
    if rng.random() < 0.2:
        other = rng.choice(seeds)
        data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]
    for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
        at = rng.randint(0, len(data))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes((rng.randrange(256),))
            case 1:
                del data[at : at + rng.randint(1, 8)]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                data[at:at] = data[at : at + rng.randint(1, 32)] * rng.randint(1, 3)
            case 4:
                data[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")
                )
            case _:
                del data[at:]
    return bytes(data[:INPUT_BYTES_MAX])


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """The seeds, then an endless row of mutations that the seed number decides."""
    seeds = target.seeds()
    yield from seeds
    rng = random.Random(seed)
    while True:
        yield mutate(rng, seeds)


def main(target: Target) -> None:
    """Fuzzes with atheris; options are libFuzzer's. Does not return."""
    atheris = importlib.import_module("atheris")  # not there for every Python

    corpus = CORPUS / target.NAME
    corpus.mkdir(parents=True, exist_ok=True)
    CRASHES.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    for found in gc.get_objects():
        if isinstance(found, types.FunctionType) and (found.__module__ or "").startswith("mansio"):
            atheris.instrument_func(found)
    options = [f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={CRASHES}/{target.NAME}-"]
    options.append("-rss_limit_mb=1024")
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus)], target.run)
    atheris.Fuzz()
