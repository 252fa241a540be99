"""A Turn with connections on fake transports: no sockets, a clock that the test sets, a log that obeys."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.core.broker import Broker
from mansio.core.limits import Limits
from mansio.log.base import Bounds, LogError
from mansio.log.memory import MemoryLog
from mansio.protocol.amqp.connection import PROTOCOL_HEADER
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.protocol.base import Authenticator, Peer
from mansio.protocol.resp.connection import RespConnection
from mansio.protocol.zmtp.connection import ZmtpConnection
from mansio.server.connection import Connection, MakeFront
from mansio.server.tasks import Tasks
from mansio.server.turn import Turn
from tests.logins import AtOnce


class StageClock:
    """Time stands still until the test moves it."""

    def __init__(self) -> None:
        self.ns = 1

    def now_ns(self) -> int:
        return self.ns

    def wall_s(self) -> float:
        return 0.0


class StageLog(MemoryLog):
    """Appends wait for the `gate`; the next ones fail with `errors`, with the entry in the log if `lands`; reading
    the tail fails with `tail_errors`. It is low while `full`, and otherwise has this `room`. Reads wait for the
    `reading`, and the next ones fail with `read_errors`; `reads` have been asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.errors: list[LogError] = []
        self.lands = False
        self.full = False
        self.room = 1 << 40
        self.tail_errors: list[LogError] = []
        self.read_errors: list[LogError] = []
        self.reads = 0
        self.reading = asyncio.Event()
        self.reading.set()

    async def read_many(
        self, items: Sequence[tuple[int, int, int]]
    ) -> Sequence[bytes | memoryview]:
        self.reads += 1
        await self.reading.wait()
        if self.read_errors:
            raise self.read_errors.pop(0)
        return await super().read_many(items)

    @property
    def low(self) -> bool:
        return self.full

    @property
    def room_bytes(self) -> int:
        return 0 if self.full else self.room

    async def bounds(self) -> Bounds:
        if self.tail_errors:
            raise self.tail_errors.pop(0)
        return await super().bounds()

    async def append(self, entry: bytes, expected_seq: int) -> int:
        await self.gate.wait()
        if not self.errors:
            return await super().append(entry, expected_seq)
        if self.lands:
            await super().append(entry, expected_seq)
        raise self.errors.pop(0)


class StageTransport(asyncio.Transport):
    """Keeps what is written; writes pile up while `stuck`, as to a peer that does not read."""

    def __init__(self, protocol: Connection, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.protocol = protocol
        self.address = address
        self.writes: list[bytes] = []
        self.stuck = False
        self.pending_bytes = 0
        self.reading = True
        self.closing = False
        self.gone = False
        self.high = 65_536

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self.address, 50123), "sockname": ("127.0.0.1", 5672)}.get(
            name, default
        )

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def get_write_buffer_size(self) -> int:
        return self.pending_bytes

    def write(self, data: Any) -> None:
        assert not self.gone, "written after the end"
        self.writes.append(bytes(data))
        if self.stuck:
            before, self.pending_bytes = self.pending_bytes, self.pending_bytes + len(data)
            if before <= self.high < self.pending_bytes:
                self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def unstick(self) -> None:
        """The peer has read everything."""
        self.stuck = False
        was, self.pending_bytes = self.pending_bytes, 0
        if was > self.high:
            self.protocol.resume_writing()
        if self.closing:
            self.lose()

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closing = True
        if not self.pending_bytes:
            self.lose()

    def abort(self) -> None:
        self.closing = True
        self.lose()

    def lose(self) -> None:
        """connection_lost comes from the loop, never from inside a call."""
        if not self.gone:
            self.gone = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def take(self) -> bytes:
        """Everything written since the last call."""
        data = b"".join(self.writes)
        self.writes.clear()
        return data


class Actor:
    """A client on a fake socket."""

    def __init__(self, stage: "Stage", make_front: MakeFront | None = None) -> None:
        self.stage = stage
        self.connection = stage.turn.connection(make_front)
        self.transport = StageTransport(self.connection, stage.address)
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """The kernel has these bytes for us."""
        assert self.transport.reading, "nobody reads"
        while data:
            buffer = self.connection.get_buffer(-1)
            n = min(len(data), len(buffer))
            buffer[:n] = data[:n]
            data = data[n:]
            self.connection.buffer_updated(n)

    def say(self, channel: int, *methods: Any) -> None:
        self.send(b"".join(m.method_frame(channel, method) for method in methods))

    def names(self) -> list[str]:
        """Names of the methods written since the last call."""
        data, found = self.transport.take(), []
        if data.startswith(b"AMQP"):
            data = data[8:]
        while data:
            size = int.from_bytes(data[3:7], "big")
            if data[0] == 1:
                found.append(m.decode_method(data[7 : 7 + size]).NAME)
            data = data[8 + size :]
        return found


class Stage:
    """One Turn and what it needs."""

    def __init__(self, **limits: Any) -> None:
        self.clock = StageClock()
        self.address = "127.0.0.1"  # of those who come
        self.failed: list[str] = []
        self.tasks = Tasks(lambda name, error: self.failed.append(name))
        self.log = StageLog()
        self.broker = Broker(Limits(**limits), AmqpLetters(131_072))
        self.spool = StageLog()
        self.turn = Turn(
            self.broker, self.log, self.clock, self.tasks, AtOnce(self.broker), self.spool
        )

    def actor(self, heartbeat: int = 0, **capabilities: bool) -> Actor:
        """A client with channel 1 open."""
        actor = Actor(self)
        actor.send(PROTOCOL_HEADER)
        self.turn.end()
        actor.say(
            0, m.ConnectionStartOk({"capabilities": capabilities}, "PLAIN", b"\0guest\0guest")
        )
        self.turn.end()
        actor.say(0, m.ConnectionTuneOk(0, 0, heartbeat), m.ConnectionOpen("/"))
        self.turn.end()
        actor.say(1, m.ChannelOpen())
        self.turn.end()
        assert actor.names()[-1] == "channel.open-ok"
        return actor

    def redis(self, address: str = "127.0.0.1", default_user: str = "guest") -> Actor:
        """A Redis client that has said nothing yet."""

        def make(peer: Peer, door: Authenticator) -> RespConnection:
            now_ns = self.clock.now_ns()
            return RespConnection(
                self.broker, door, peer, self.turn.speaking, now_ns, default_user=default_user
            )

        self.address = address
        actor = Actor(self, make)
        self.address = "127.0.0.1"
        return actor

    def zmq(self, address: str = "127.0.0.1") -> Actor:
        """A ZeroMQ peer that has said nothing yet."""

        def make(peer: Peer, door: Authenticator) -> ZmtpConnection:
            now_ns = self.clock.now_ns()
            return ZmtpConnection(
                self.broker, door, peer, lambda: "token", self.turn.speaking, now_ns
            )

        self.address = address
        actor = Actor(self, make)
        self.address = "127.0.0.1"
        return actor

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits; TimeoutError."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    async def settle(self) -> None:
        """Lets everything happen that is due now."""
        for _ in range(20):
            await asyncio.sleep(0)


def play(script: Callable[[Stage], Awaitable[None]], **limits: Any) -> Stage:
    """Runs a scene on a stage of its own."""

    async def main() -> Stage:
        stage = Stage(**limits)
        await stage.turn.open()
        await stage.settle()
        await script(stage)
        await stage.tasks.cancel_all()
        await stage.settle()
        return stage

    return asyncio.run(main())


def publish(
    key: str, body: bytes = b"hello", persistent: bool = False, exchange: str = ""
) -> bytes:
    properties = Properties(delivery_mode=2) if persistent else Properties()
    return (
        m.method_frame(1, m.BasicPublish(exchange, key))
        + m.frame(2, 1, encode_header_payload(len(body), properties))
        + m.frame(3, 1, body)
    )


def publisher(stage: Stage, durable: bool = True, **capabilities: bool) -> Actor:
    actor = stage.actor(**capabilities)
    actor.say(1, m.QueueDeclare("q", durable=durable), m.ConfirmSelect())
    return actor


async def told(stage: Stage, actor: Actor) -> list[str]:
    await stage.settle()
    return actor.names()
