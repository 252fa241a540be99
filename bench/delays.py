"""A million delayed messages: the memory that they take while they wait, and how fast they come when they are due."""

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

from bench import procfs, wire
from bench.load import LoadError
from bench.peers import Peer

COUNT = 1_000_000
BODY = b"x" * 100
WAIT_S = 60.0
"""From the first publish to the first message that is due; publishing has to take less."""
SPREAD_MS = 1000
"""All are due within this time, each at another one, in random order."""
QUEUE = "delays"
TIMEOUT_S = 120.0


def measure(peer: Peer) -> tuple[float, float]:
    """(resident memory in MiB while all of them wait, seconds from the time of the first one until all are delivered).

    Errors: LoadError, OSError.
    """
    began = time.monotonic()
    with wire.connect(peer.port) as publisher:
        publisher.settimeout(TIMEOUT_S)
        _call(publisher, wire.method(1, 50, 10, _declare()), (50, 11))
        _call(publisher, wire.method(1, 85, 10, b"\0"), (85, 11))
        confirmed = threading.Thread(target=_read_confirms, args=(publisher,))
        confirmed.start()
        for batch in _messages(began + WAIT_S):
            publisher.sendall(batch)
        confirmed.join()
    if time.monotonic() > began + WAIT_S - 2:
        raise LoadError(f"{peer.name} took all of {WAIT_S:.0f} s to take {COUNT:,} messages")
    time.sleep(1)
    resident = procfs.rss_mib(list(peer.pids()))
    with wire.connect(peer.port) as consumer:
        consumer.settimeout(TIMEOUT_S)
        _call(consumer, wire.method(1, 60, 20, _consume()), (60, 21))
        seconds = _read_deliveries(consumer, began + WAIT_S)
        _call(consumer, wire.method(1, 50, 40, b"\0\0" + wire.short(QUEUE) + b"\0"), (50, 41))
    return resident, seconds


def _declare() -> bytes:
    return b"\0\0" + wire.short(QUEUE) + b"\x02" + struct.pack(">I", 0)  # durable


def _consume() -> bytes:
    flags = b"\x02"  # no-ack
    return b"\0\0" + wire.short(QUEUE) + wire.short("c") + flags + struct.pack(">I", 0)


def _call(sock: socket.socket, request: bytes, answer: tuple[int, int]) -> None:
    sock.sendall(request)
    class_id, method_id, _ = wire.read_method(sock)
    if (class_id, method_id) != answer:
        raise LoadError(f"method {class_id}.{method_id} instead of {answer}")


def _messages(first_due: float) -> Iterator[bytes]:
    """Persistent messages, some at a time."""
    draws = random.Random(1)
    method = wire.publish(QUEUE)
    body = wire.frame(wire.BODY, 1, BODY)
    entry = wire.short("x-delay") + b"I"
    head = struct.pack(">HHQHI", 60, 0, len(BODY), 0x3000, len(entry) + 4) + entry
    for _ in range(COUNT // 1000):
        wait_ms = int((first_due - time.monotonic()) * 1000)
        delays = [struct.pack(">I", wait_ms + draws.randrange(SPREAD_MS)) for _ in range(1000)]
        frames = [wire.frame(wire.HEADER, 1, head + delay + b"\x02") for delay in delays]
        yield b"".join([method + frame + body for frame in frames])


def _read_confirms(sock: socket.socket) -> None:
    upto = 0
    while upto < COUNT:
        class_id, method_id, arguments = wire.read_method(sock)
        if (class_id, method_id) != (60, 80):
            raise LoadError(f"method {class_id}.{method_id} instead of basic.ack")
        upto = int.from_bytes(arguments[:8], "big")


def _read_deliveries(sock: socket.socket, first_due: float) -> float:
    """All of them are of the same size."""
    data = b""
    while len(data) < 4096:
        data += sock.recv(65536)
    at = 0
    for _ in range(3):
        at += 8 + int.from_bytes(data[at + 3 : at + 7], "big")
    left = at * COUNT - len(data)
    while left > 0:
        got = len(sock.recv(1 << 20))
        if not got:
            raise LoadError("the broker closed the connection")
        left -= got
    return time.monotonic() - first_due
