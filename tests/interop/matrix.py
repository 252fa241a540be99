"""Who may meet at a queue: producers and workers of all protocols, each with the client library that its users have.

A producer sends one message and may hear what has become of it; a worker takes one and may answer. Both know messages
as lists of frames; those that have only bodies have `frames = False`.
"""

import json
from typing import Any, ClassVar

import pika  # type: ignore[import-untyped]
import redis
import zmq

from tests.conftest import BrokerProcess

WAIT_MS = 20_000
PARTS = "x-zmq-parts"
Frames = list[bytes]


class Place:
    """A broker with all its ports, and what is connected to it."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.broker = broker
        self.context: zmq.Context[Any] = zmq.Context()
        self._asking = self.socket(zmq.REQ)

    def socket(self, kind: int, queue: str = "") -> Any:
        """One that is connected; `queue`: its X-Queue."""
        socket = self.context.socket(kind)
        socket.linger = socket.rcvtimeo = socket.sndtimeo = WAIT_MS
        if queue:
            socket.setsockopt(zmq.METADATA, b"X-Queue:" + queue.encode())
        socket.connect(f"tcp://127.0.0.1:{self.broker.zmq_port}")
        return socket

    def channel(self) -> Any:
        """Of pika, with a connection of its own."""
        where = pika.ConnectionParameters(self.broker.host, self.broker.port)
        return pika.BlockingConnection(where).channel()

    def depth(self, queue: str) -> tuple[int, int, int]:
        """Messages that are ready and in flight, and consumers."""
        self._asking.send_multipart([b"LEN", queue.encode()])
        status, ready, in_flight, consumers = self._asking.recv_multipart()
        assert status == b"200", ready
        return int(ready), int(in_flight), int(consumers)

    def redis(self) -> "redis.Redis[Any]":
        """A client of redis-py."""
        return redis.Redis(self.broker.host, self.broker.redis_port, socket_timeout=WAIT_MS / 1000)


class Client:
    """Of either kind."""

    frames: ClassVar[bool] = True
    """Whether it has messages of several frames."""
    hears: ClassVar[bool] = False
    """A producer that hears what its worker has made of a message."""
    answers: ClassVar[bool] = False
    """A worker that can say it."""

    def __init__(self, place: Place, queue: str) -> None:
        self.place = place
        self.queue = queue
        self.open()

    def open(self) -> None:
        """Connects it; a worker waits for a message from now on."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends its connection."""
        raise NotImplementedError


class Producer(Client):
    """Sends one message."""

    def send(self, frames: Frames) -> None:
        """When this returns the message is in the queue, or nobody can know."""
        raise NotImplementedError

    def result(self) -> Frames:
        """What a worker has answered."""
        raise NotImplementedError

    def hears_nothing(self) -> bool:
        """Whether there is no result, when it is known that no worker will answer."""
        raise NotImplementedError


class Worker(Client):
    """Takes one message."""

    def waits(self) -> bool:
        """Whether the broker knows that it waits for a message."""
        return self.place.depth(self.queue)[2] == 1

    def take(self) -> Frames:
        """The message."""
        raise NotImplementedError

    def done(self, result: Frames) -> None:
        """Acknowledges it, with the result if it can."""


# -- producers


class AmqpProducer(Producer):
    """pika, with confirms and a call's properties."""

    frames = False
    hears = True

    def open(self) -> None:
        channel = self.channel = self.place.channel()
        self._heard: list[tuple[Any, bytes]] = []
        channel.basic_consume("amq.rabbitmq.reply-to", self._hear, auto_ack=True)
        channel.confirm_delivery()

    def close(self) -> None:
        self.channel.connection.close()

    def _hear(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self._heard.append((properties, body))

    def send(self, frames: Frames) -> None:
        (body,) = frames
        asked = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="number 1")
        self.channel.basic_publish("", self.queue, body, asked, mandatory=True)

    def result(self) -> Frames:
        while not self._heard:
            self.channel.connection.process_data_events(time_limit=None)
        ((properties, body),) = self._heard
        assert properties.correlation_id == "number 1"
        return split(body, properties)

    def hears_nothing(self) -> bool:
        self.channel.queue_declare(self.queue, passive=True)
        self.channel.connection.process_data_events(time_limit=0)
        return not self._heard


class Lpush(Producer):
    """redis-py."""

    frames = False

    def open(self) -> None:
        self._client = self.place.redis()

    def close(self) -> None:
        self._client.close()

    def send(self, frames: Frames) -> None:
        (body,) = frames
        assert self._client.lpush(self.queue, body) == 1


class ZeroProducer(Producer):
    """A socket of ZeroMQ."""

    kind: ClassVar[int] = zmq.REQ

    def open(self) -> None:
        self.socket = self.place.socket(self.kind, self.queue)

    def close(self) -> None:
        self.socket.close()

    def send(self, frames: Frames) -> None:
        self.socket.send_multipart(frames)


class Push(ZeroProducer):
    """What it sends is a task."""

    kind = zmq.PUSH


class PlainTask(ZeroProducer):
    """A REQ that knows of no verbs."""

    def send(self, frames: Frames) -> None:
        super().send(frames)
        assert self.socket.recv_multipart() == [b"200 0"]


class Put(ZeroProducer):
    """The verb."""

    def send(self, frames: Frames) -> None:
        body, *more = frames
        super().send([b"PUT", self.queue.encode(), body, b"", *more])
        assert self.socket.recv_multipart() == [b"200", b"0"]


class Call(ZeroProducer):
    """The verb."""

    hears = True
    timeout_ms = WAIT_MS

    def send(self, frames: Frames) -> None:
        body, *more = frames
        timeout = b"%d" % self.timeout_ms
        super().send([b"CALL", self.queue.encode(), timeout, body, b"", *more])

    def result(self) -> Frames:
        status, *frames = self.socket.recv_multipart()
        assert status == b"200", frames
        return frames

    def hears_nothing(self) -> bool:
        reply: Frames = self.socket.recv_multipart()
        return reply[0] == b"408"


class HastyCall(Call):
    """Does not wait for long."""

    timeout_ms = 100


class Majordomo(ZeroProducer):
    """A client of version 0.1, which sends what a REQ socket sends."""

    kind = zmq.DEALER
    hears = True
    head: ClassVar[Frames] = [b"", b"MDPC01"]
    reply: ClassVar[Frames] = [b"", b"MDPC01"]

    def send(self, frames: Frames) -> None:
        super().send([*self.head, self.queue.encode(), *frames])

    def result(self) -> Frames:
        heard: Frames = self.socket.recv_multipart()
        head = [*self.reply, self.queue.encode()]
        assert heard[: len(head)] == head
        return heard[len(head) :]

    def hears_nothing(self) -> bool:
        """It asks for something else, and that is the first reply."""
        self.socket.send_multipart([*self.head, b"mmi.service", b"no-such-service"])
        return bool(self.socket.recv_multipart() == [*self.reply, b"mmi.service", b"404"])


class MajordomoReq(Majordomo):
    """The same as a REQ socket."""

    kind = zmq.REQ
    head: ClassVar[Frames] = [b"MDPC01"]
    reply: ClassVar[Frames] = [b"MDPC01"]


class Majordomo2(Majordomo):
    """A client of version 0.2."""

    head: ClassVar[Frames] = [b"MDPC02", b"\x01"]
    reply: ClassVar[Frames] = [b"MDPC02", b"\x03"]


# -- workers


class AmqpWorker(Worker):
    """pika; it is shown how the body was made of frames."""

    answers = True

    def open(self) -> None:
        self._channel = self.place.channel()
        self._channel.basic_qos(prefetch_count=1)
        self._taken: list[tuple[Any, Any, bytes]] = []
        self._channel.basic_consume(self.queue, self._take)

    def close(self) -> None:
        self._channel.connection.close()

    def _take(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self._taken.append((method, properties, body))

    def take(self) -> Frames:
        while not self._taken:
            self._channel.connection.process_data_events(time_limit=None)
        ((_, properties, body),) = self._taken
        return split(body, properties)

    def done(self, result: Frames) -> None:
        ((method, properties, _),) = self._taken
        if properties.reply_to:
            body, how = joined(result)
            how.correlation_id = properties.correlation_id
            self._channel.basic_publish("", properties.reply_to, body, how)
        self._channel.basic_ack(method.delivery_tag)


class Brpop(Worker):
    """redis-py; the command is on its way before the message is taken."""

    frames = False

    def open(self) -> None:
        self._client = self.place.redis()
        self._connection = self._client.connection_pool.get_connection()
        self._connection.send_command("CLIENT", "ID")
        self._id = self._connection.read_response()
        self._connection.send_command("BRPOP", self.queue, WAIT_MS // 1000)

    def close(self) -> None:
        self._connection.disconnect()
        self._client.close()

    def waits(self) -> bool:
        """It is no consumer."""
        return any(
            int(each["id"]) == self._id and "b" in each["flags"]
            for each in self._client.client_list()
        )

    def take(self) -> Frames:
        name, body = self._connection.read_response()
        assert name == self.queue.encode()
        return [body]


class ZeroWorker(Worker):
    """A socket of ZeroMQ that gets what there is and replies with the result."""

    kind: ClassVar[int] = zmq.REP
    answers = True

    def open(self) -> None:
        self.socket = self.place.socket(self.kind, self.queue)

    def close(self) -> None:
        self.socket.close()

    def take(self) -> Frames:
        frames: Frames = self.socket.recv_multipart()
        return frames

    def done(self, result: Frames) -> None:
        self.socket.send_multipart(result)


class Pull(ZeroWorker):
    """Has no way to answer."""

    kind = zmq.PULL
    answers = False

    def done(self, result: Frames) -> None:
        pass


class Next(ZeroWorker):
    """A REQ with the verbs of workers."""

    kind = zmq.REQ

    def open(self) -> None:
        super().open()
        self.socket.send_multipart([b"NEXT", self.queue.encode()])

    def take(self) -> Frames:
        status, self._tag, redelivered, body, properties, *more = super().take()
        assert (status, redelivered) == (b"200", b"0")
        assert isinstance(json.loads(properties), dict)
        return [body, *more]

    def done(self, result: Frames) -> None:
        self.socket.send_multipart([b"ACK", self._tag, *result])
        assert self.socket.recv_multipart() == [b"200"]


class MajordomoWorker(ZeroWorker):
    """Of version 0.1."""

    kind = zmq.DEALER
    head: ClassVar[Frames] = [b"", b"MDPW01"]
    final = b"\x03"
    heartbeat = b"\x04"

    def open(self) -> None:
        super().open()
        self.socket.send_multipart([*self.head, b"\x01", self.queue.encode()])

    def take(self) -> Frames:
        beat = [*self.head, self.heartbeat]
        while (heard := super().take()) == beat:
            pass
        count = len(self.head)
        command, self._client, empty, *body = heard[count:]
        assert (heard[:count], command, empty) == (self.head, b"\x02", b"")
        return body

    def done(self, result: Frames) -> None:
        self.socket.send_multipart([*self.head, self.final, self._client, b"", *result])


class MajordomoWorker2(MajordomoWorker):
    """Of version 0.2."""

    head: ClassVar[Frames] = [b"MDPW02"]
    final = b"\x04"
    heartbeat = b"\x05"


PRODUCERS: list[type[Producer]] = [
    AmqpProducer,
    Lpush,
    Put,
    PlainTask,
    Call,
    Push,
    Majordomo,
    MajordomoReq,
    Majordomo2,
]
WORKERS: list[type[Worker]] = [
    AmqpWorker,
    Brpop,
    Next,
    ZeroWorker,
    Pull,
    MajordomoWorker,
    MajordomoWorker2,
]


def split(body: bytes, properties: Any) -> Frames:
    """A body as the frames that its header tells of."""
    sizes = (properties.headers or {}).get(PARTS, [len(body)])
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    assert ends[-1] == len(body)
    return [body[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def joined(frames: Frames) -> tuple[bytes, Any]:
    """Frames as a body, and the properties that tell of them."""
    headers = {PARTS: [len(frame) for frame in frames]} if len(frames) > 1 else None
    return b"".join(frames), pika.BasicProperties(headers=headers)
