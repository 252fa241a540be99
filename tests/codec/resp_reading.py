"""Helpers for tests of the codec of RESP: both of its forms, and commands whole or in pieces."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from mansio.codec import resp

SOURCE = Path(__file__).resolve().parents[2] / "src/mansio/codec/resp.py"


def load_pure() -> ModuleType:
    """The plain-Python form of the codec, under a name of its own."""
    spec = importlib.util.spec_from_file_location("mansio.codec._resp_of_tests", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


PURE: Any = load_pure() if resp.COMPILED else resp
CODECS: list[Any] = [resp, PURE] if resp.COMPILED else [resp]
NAMES = ["compiled", "pure"] if resp.COMPILED else ["pure"]


class Reader:
    """Drives a Scan as a connection does; `items` as they came, `commands` one by one."""

    def __init__(self, codec: Any, trusted: bool = True) -> None:
        self.codec = codec
        self.scan = codec.Scan()
        self.scan.trusted = trusted
        self.tail = b""
        self.items: list[Any] = []
        self.commands: list[list[bytes]] = []

    @property
    def fault(self) -> str:
        return str(self.scan.fault)

    def receive(self, data: bytes, junk: bytes = b"") -> None:
        """More bytes; `junk` lies behind them in the buffer, as in one that is used again."""
        buf = bytearray(self.tail + data + junk)
        pos, end = 0, len(self.tail) + len(data)
        while not self.fault:
            out: list[Any] = []
            new = self.scan.scan(buf, pos, end, out)
            assert pos <= new <= end
            self.items += out
            for item in out:
                self.commands += [item] if isinstance(item, list) else self.codec.apart(*item)
            if new == pos:
                break
            pos = new
        self.tail = bytes(buf[pos:end])


def read(codec: Any, data: bytes, size: int = 0, trusted: bool = True, junk: bytes = b"") -> Reader:
    """A reader that has received `data`, `size` bytes at a time; 0: at once."""
    reader = Reader(codec, trusted)
    for at in range(0, len(data), size or len(data) or 1):
        reader.receive(data[at : at + (size or len(data))], junk)
    return reader
