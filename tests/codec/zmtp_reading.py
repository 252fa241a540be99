"""Helpers for tests of the codec of ZMTP: both of its forms, and what they read whole or in pieces."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from mansio.codec import zmtp

SOURCE = Path(__file__).resolve().parents[2] / "src/mansio/codec/zmtp.py"
MESSAGE_MAX = 1 << 20


def load_pure() -> ModuleType:
    """The plain-Python form of the codec, under a name of its own."""
    spec = importlib.util.spec_from_file_location("mansio.codec._zmtp_of_tests", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


PURE: Any = load_pure() if zmtp.COMPILED else zmtp
CODECS: list[Any] = [zmtp, PURE] if zmtp.COMPILED else [zmtp]
NAMES = ["compiled", "pure"] if zmtp.COMPILED else ["pure"]


class Reader:
    """Drives a Scan as a connection does. `items` are as they came; `heard` is the same one by one: a message is a list
    of frames, a command bytes."""

    def __init__(
        self, codec: Any, opened: bool = True, message_max: int = MESSAGE_MAX, apart: bool = False
    ) -> None:
        self.scan = codec.Scan(message_max)
        self.scan.open = opened
        self.scan.apart = apart
        self.tail = b""
        self.items: list[Any] = []
        self.heard: list[Any] = []

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
            for kind, item in out:
                if kind == zmtp.BODIES:
                    self.heard += [[body] for body in item]
                elif kind == zmtp.MESSAGES:
                    self.heard += item
                else:
                    assert kind == zmtp.COMMANDED
                    self.heard.append(item)
            if new == pos:
                break
            pos = new
        self.tail = bytes(buf[pos:end])


def read(codec: Any, data: bytes, size: int = 0, junk: bytes = b"", **how: Any) -> Reader:
    """A reader that has received `data`, `size` bytes at a time; 0: at once."""
    reader = Reader(codec, **how)
    for at in range(0, len(data), size or len(data) or 1):
        reader.receive(data[at : at + (size or len(data))], junk)
    return reader
