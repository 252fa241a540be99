"""Both ends of the ZeroMQ benchmark, each a process of its own: clients with pyzmq and without, and servers to compare.

A client prints one line of JSON: how many messages, in how many seconds, and latencies where it waits for each.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

LIMIT_MS = 20_000
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
CHUNK = 64
"""Requests that the client without pyzmq sends at a time."""


def socket_of(kind: int, port: int, queue: str = "") -> Any:
    """A pyzmq socket that is connected."""
    sock = zmq.Context.instance().socket(kind)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.RCVTIMEO, LIMIT_MS)
    sock.setsockopt(zmq.SNDTIMEO, LIMIT_MS)
    if queue:
        sock.setsockopt(zmq.METADATA, f"X-Queue:{queue}".encode())
    sock.connect(f"tcp://127.0.0.1:{port}")
    return sock


def client_req(port: int, seconds: float, words: list[bytes]) -> dict[str, float]:
    """Round trips of one REQ socket, one after the other; `words` are the frames of each request."""
    sock = socket_of(zmq.REQ, port)
    times = []
    clock = time.perf_counter
    for _ in range(200):
        sock.send_multipart(words)
        sock.recv_multipart()
    begin = now = clock()
    end = begin + seconds
    while now < end:
        sock.send_multipart(words)
        reply = sock.recv_multipart()
        before, now = now, clock()
        times.append(now - before)
    assert reply
    times.sort()
    return {
        "count": len(times),
        "seconds": now - begin,
        "p50_us": times[len(times) // 2] * 1e6,
        "p99_us": times[len(times) * 99 // 100] * 1e6,
    }


def client_push(port: int, count: int, size: int, queue: str) -> dict[str, float]:
    """`count` messages through a PUSH socket; says when it began, by the clock that all processes share."""
    sock = socket_of(zmq.PUSH, port, queue)
    body = b"x" * size
    begin = time.monotonic()
    send = sock.send
    for _ in range(count):
        send(body)
    sock.close(LIMIT_MS)
    zmq.Context.instance().term()
    return {"count": count, "begin": begin}


def client_put(port: int, count: int, window: int, size: int, queue: str) -> dict[str, float]:
    """PUTs of a DEALER socket of pyzmq; at most `window` are without an answer."""
    sock = socket_of(zmq.DEALER, port)
    frames = [b"", b"PUT", queue.encode(), b"x" * size]
    sent = answered = 0
    begin = time.perf_counter()
    while answered < count:
        while sent < count and sent - answered < window:
            sock.send_multipart(frames)
            sent += 1
        for _ in range(min(window // 2, sent - answered)):
            reply = sock.recv_multipart()
            if reply[1] != b"200":
                raise SystemExit(f"PUT was answered {reply}")
            answered += 1
    return {"count": count, "seconds": time.perf_counter() - begin}


def frame(data: bytes, more: bool) -> bytes:
    """A frame on the wire (ZMTP 3.1, 'Framing')."""
    if len(data) < 256:
        return bytes((int(more), len(data))) + data
    return bytes((2 | int(more),)) + len(data).to_bytes(8, "big") + data


def shake_hands(port: int, socket_type: str) -> socket.socket:
    """A connection that has said READY and heard it."""
    sock = socket.create_connection(("127.0.0.1", port), LIMIT_MS / 1000)
    kind = socket_type.encode()
    body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    sock.sendall(GREETING + bytes((4, len(body))) + body)
    heard = b""
    while len(heard) < 66 or len(heard) < 66 + heard[65]:
        more = sock.recv(4096)
        if not more:
            raise SystemExit("the server has closed the connection")
        heard += more
    return sock


class Replies:
    """Counts the messages in a stream of bytes."""

    def __init__(self) -> None:
        self.count = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        data = self._rest + data
        pos, end = 0, len(data)
        while pos + 2 <= end:
            flags = data[pos]
            if flags & 2:
                if pos + 9 > end:
                    break
                stop = pos + 9 + int.from_bytes(data[pos + 1 : pos + 9], "big")
            else:
                stop = pos + 2 + data[pos + 1]
            if stop > end:
                break
            if not flags & 5:
                self.count += 1
            pos = stop
        self._rest = data[pos:]


def client_raw(port: int, count: int, window: int, size: int, queue: str) -> dict[str, float]:
    """The same as `client_put` without pyzmq: requests are bytes that were made before."""
    sock = shake_hands(port, "DEALER")
    words = (b"", b"PUT", queue.encode(), b"x" * size)
    one = b"".join(frame(word, i < 3) for i, word in enumerate(words))
    chunk = one * CHUNK
    count -= count % CHUNK
    replies = Replies()
    sent = 0
    begin = time.perf_counter()
    while replies.count < count:
        while sent < count and sent - replies.count <= window - CHUNK:
            sock.sendall(chunk)
            sent += CHUNK
        data = sock.recv(1 << 18)
        if not data:
            raise SystemExit("the server has closed the connection")
        replies.feed(data)
    return {"count": count, "seconds": time.perf_counter() - begin}


def server_router(port: int) -> None:
    """A blocking ROUTER that sends everything back."""
    sock = zmq.Context.instance().socket(zmq.ROUTER)
    sock.bind(f"tcp://127.0.0.1:{port}")
    while True:
        sock.send_multipart(sock.recv_multipart())


def server_pull(port: int) -> None:
    """A blocking PULL that keeps what it got in a list; a REP beside it, one port further, says how many."""
    context = zmq.Context.instance()
    sock, asked = context.socket(zmq.PULL), context.socket(zmq.REP)
    sock.bind(f"tcp://127.0.0.1:{port}")
    asked.bind(f"tcp://127.0.0.1:{port + 1}")
    poller = zmq.Poller()
    poller.register(sock, zmq.POLLIN)
    poller.register(asked, zmq.POLLIN)
    kept: list[bytes] = []
    while True:
        ready = dict(poller.poll())
        if sock in ready:
            for _ in range(1000):
                try:
                    kept.append(sock.recv(zmq.NOBLOCK))
                except zmq.Again:
                    break
        if asked in ready:
            asked.recv()
            asked.send_multipart([b"200", b"%d" % len(kept)])


async def _asyncio_router(port: int) -> None:
    sock = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
    sock.bind(f"tcp://127.0.0.1:{port}")
    while True:
        await sock.send_multipart(await sock.recv_multipart())


async def _asyncio_pull(port: int) -> None:
    context = zmq.asyncio.Context.instance()
    sock, asked = context.socket(zmq.PULL), context.socket(zmq.REP)
    sock.bind(f"tcp://127.0.0.1:{port}")
    asked.bind(f"tcp://127.0.0.1:{port + 1}")
    kept: list[bytes] = []

    async def answer() -> None:
        while True:
            await asked.recv()
            await asked.send_multipart([b"200", b"%d" % len(kept)])

    answering = asyncio.create_task(answer())
    while not answering.done():
        kept.append(await sock.recv())


def main(arguments: list[str]) -> int:
    """One end."""
    parser = argparse.ArgumentParser(prog="bench.zeromq_ends", description=__doc__)
    parser.add_argument("end")
    parser.add_argument("port", type=int)
    parser.add_argument("rest", nargs="*")
    chosen = parser.parse_args(arguments)
    port, rest = chosen.port, chosen.rest
    if chosen.end == "router":
        server_router(port)
    elif chosen.end == "pull":
        server_pull(port)
    elif chosen.end == "asyncio-router":
        asyncio.run(_asyncio_router(port))
    elif chosen.end == "asyncio-pull":
        asyncio.run(_asyncio_pull(port))
    elif chosen.end == "req":
        words = [word.encode() for word in rest[1:]]
        print(json.dumps(client_req(port, float(rest[0]), words)))
    elif chosen.end == "push":
        print(json.dumps(client_push(port, int(rest[0]), int(rest[1]), rest[2])))
    else:
        client = {"put": client_put, "raw-put": client_raw}[chosen.end]
        count, window, size = map(int, rest[:3])
        print(json.dumps(client(port, count, window, size, rest[3])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
