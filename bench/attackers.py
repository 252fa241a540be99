"""Clients that misbehave, many at once. A process of its own:

    python -m bench.attackers PORT CONNECTIONS SECONDS [BEHAVIOUR ...]

The connections are shared out among the behaviours. Each opens a new connection PAUSE_S after its
last one ended, until the time is over. Prints, by behaviour, how its connections ended.
"""

import asyncio
import json
import logging
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

from bench import wire

PAUSE_S = 1.0  # before the next connection of the same attacker
DRIP_S = 0.2  # between the bytes of a slow one
HOLD_S = 60.0  # how long a silent one waits for the broker to act
OVERSIZED_BYTES = 1 << 20
CHUNK = 16 << 10

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]


async def until_closed(reader: Reader) -> None:
    """Read and forget until the broker closes."""
    async with asyncio.timeout(HOLD_S):
        while await reader.read(CHUNK):
            pass


async def pour(writer: Writer, size: int) -> None:
    """Send zeros as fast as they are taken, until the broker closes."""
    for _ in range(size // CHUNK):
        if writer.transport.is_closing():
            return
        writer.write(bytes(CHUNK))
        await writer.drain()


async def handshake(reader: Reader, writer: Writer) -> None:
    """An open connection with channel 1 open: everything is sent at once, answers are awaited."""
    writer.write(wire.HANDSHAKE)
    methods = set[tuple[int, int]]()
    while (20, 11) not in methods:
        _, _, size = struct.unpack(">BHI", await reader.readexactly(7))
        payload = await reader.readexactly(size + 1)
        methods.add(struct.unpack_from(">HH", payload))


async def garbage(reader: Reader, writer: Writer) -> None:
    """sends random bytes instead of a protocol header"""
    writer.write(random.randbytes(4096))
    await until_closed(reader)


async def garbage_frames(reader: Reader, writer: Writer) -> None:
    """shakes hands, then sends random bytes as frames"""
    await handshake(reader, writer)
    writer.write(random.randbytes(4096))
    await until_closed(reader)


async def garbage_methods(reader: Reader, writer: Writer) -> None:
    """shakes hands, then sends well-formed frames with random payloads"""
    await handshake(reader, writer)
    for kind in (wire.METHOD, wire.HEADER, wire.BODY) * 4:
        writer.write(wire.frame(kind, 1, random.randbytes(64)))
    await until_closed(reader)


async def half_open(reader: Reader, writer: Writer) -> None:
    """connects and says nothing"""
    await until_closed(reader)


async def half_handshake(reader: Reader, writer: Writer) -> None:
    """stops in the middle of the handshake"""
    writer.write(wire.PROTOCOL_HEADER + wire.start_ok()[:9])
    await until_closed(reader)


async def slow_loris(reader: Reader, writer: Writer) -> None:
    """sends the handshake byte by byte"""
    closed = asyncio.create_task(until_closed(reader))
    try:
        for position in range(len(wire.HANDSHAKE)):
            writer.write(wire.HANDSHAKE[position : position + 1])
            done, _ = await asyncio.wait({closed}, timeout=DRIP_S)
            if done:
                break
        await closed
    finally:
        closed.cancel()


async def slow_publish(reader: Reader, writer: Writer) -> None:
    """shakes hands, then sends a message byte by byte"""
    await handshake(reader, writer)
    header = struct.pack(">HHQH", 60, 0, 100_000, 0)
    data = wire.publish("nowhere") + wire.frame(wire.HEADER, 1, header)
    for byte in data + wire.frame(wire.BODY, 1, b"x" * 100_000):
        if writer.transport.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(DRIP_S)


async def oversized_frame(reader: Reader, writer: Writer) -> None:
    """announces a frame of 4 GiB and sends 1 MiB of it"""
    await handshake(reader, writer)
    writer.write(struct.pack(">BHI", wire.METHOD, 1, 0xFFFF_FFFF))
    await pour(writer, OVERSIZED_BYTES)
    await until_closed(reader)


async def oversized_first_frame(reader: Reader, writer: Writer) -> None:
    """sends a frame above frame-max before it has authenticated"""
    writer.write(wire.PROTOCOL_HEADER + struct.pack(">BHI", wire.METHOD, 0, 1 << 28))
    await pour(writer, OVERSIZED_BYTES)
    await until_closed(reader)


async def oversized_body(reader: Reader, writer: Writer) -> None:
    """announces a message of 2^63 bytes and sends 64 KiB of it"""
    await handshake(reader, writer)
    writer.write(wire.publish("nowhere"))
    writer.write(wire.frame(wire.HEADER, 1, struct.pack(">HHQH", 60, 0, 1 << 63, 0)))
    writer.write(wire.frame(wire.BODY, 1, bytes(CHUNK)) * 4)
    await until_closed(reader)


async def reset(reader: Reader, writer: Writer) -> None:
    """resets the connection in the middle of a message"""
    await handshake(reader, writer)
    writer.write(wire.publish("nowhere"))
    writer.write(wire.frame(wire.HEADER, 1, struct.pack(">HHQH", 60, 0, 100, 0)))
    await writer.drain()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


BEHAVIOURS: dict[str, Behaviour] = {
    one.__name__.replace("_", "-"): one
    for one in (
        garbage, garbage_frames, garbage_methods, half_open, half_handshake, slow_loris,
        slow_publish, oversized_frame, oversized_first_frame, oversized_body, reset,
    )
}  # fmt: skip


async def attack_once(port: int, behaviour: Behaviour) -> str:
    """One connection from open to end; answers how it ended."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return "refused"
    try:
        await behaviour(reader, writer)
        return "reset by itself" if behaviour is reset else "closed by the broker"
    except TimeoutError:
        return "not closed"
    except (OSError, asyncio.IncompleteReadError):
        return "closed by the broker"
    except asyncio.CancelledError:
        return "still open at the end"
    finally:
        writer.transport.abort()


async def attacker(port: int, name: str, counts: Counter[str]) -> None:
    """One attacker: connection after connection until it is cancelled."""
    task = asyncio.current_task()
    while task is not None and not task.cancelling():
        counts[await attack_once(port, BEHAVIOURS[name])] += 1
        await asyncio.sleep(PAUSE_S)


async def attack(
    port: int, connections: int, seconds: float, names: list[str]
) -> dict[str, Counter[str]]:
    """All attackers at once, for so long."""
    counts = {name: Counter[str]() for name in names}
    tasks = [
        asyncio.create_task(attacker(port, name, counts[name]))
        for name in (names[i % len(names)] for i in range(connections))
    ]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


def main(arguments: list[str]) -> int:
    """See the top of the file."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # writes to closed connections are usual
    port, connections, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    names = arguments[3:] or list(BEHAVIOURS)
    print(json.dumps(asyncio.run(attack(port, connections, seconds, names))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
