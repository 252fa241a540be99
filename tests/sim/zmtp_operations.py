"""What ZeroMQ peers do in a step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.protocol.zmtp.json_values import property_members
from mansio.protocol.zmtp.messages import PARTS
from tests.sim.publishing import SIZES, make_message, make_shape
from tests.sim.wire import ID_BYTES, Message, make_body
from tests.sim.zmtp_client import ZmtpClient
from tests.sim.zmtp_wire import Request

if TYPE_CHECKING:
    from tests.sim.world import World

WAITS_MS = (1, 20, 300, 5000, 60_000)
TYPES = ("REQ", "REQ", "DEALER", "DEALER", "DEALER", "PUSH", "PUSH", "PULL", "PULL", "PULL", "REP")
ASKING = ("REQ", "DEALER")
OWN = ("tasks", "z0", "z1")
"""Queues that nobody else declares."""


class ZmtpOperations:
    """Draws the next operation of a peer and lets it do that."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = world.rng
        self._addresses: list[bytes] = []
        """Of tasks that workers have replied to."""
        self._operations = [operation for _, operation in OPERATIONS]
        self._weights = list(accumulate(weight for weight, _ in OPERATIONS))

    def connect(self, name: str) -> ZmtpClient:
        """A new peer."""
        rng, queues = self.rng, self.world.oracle.topology.queues
        socket_type = rng.choice(TYPES)
        known = [each for each in queues if not each.startswith("s") or socket_type in ASKING]
        queue = rng.choice(("", *OWN, *known, *known))
        if socket_type not in ASKING and rng.random() < 0.5:
            queue = rng.choice(OWN[:2])  # where most of them meet
        errors = rng.choice(("reply", "reject", "requeue")) if socket_type == "REP" else "reply"
        return ZmtpClient(name, rng, socket_type, queue, errors)

    def step(self, client: ZmtpClient) -> str:
        """The peer does something; the name of it, '' for nothing."""
        if not client.able:
            return ""
        if client.socket_type not in ASKING:
            return self.push(client) if client.socket_type == "PUSH" else self.reply(client)
        operation = self.rng.choices(self._operations, cum_weights=self._weights)[0]
        operation(self, client)
        return operation.__name__

    def push(self, client: ZmtpClient) -> str:
        """Some tasks that nobody answers."""
        for _ in range(self.rng.choice((1, 1, 2, 3, 5, 8, 20))):
            message, frames = self._message(client.queue or OWN[0], self.rng.choice((1, 1, 1, 3)))
            client.ask(Request("PUSH"), frames, message)
        return "push"

    def reply(self, client: ZmtpClient) -> str:
        """The worker is done, or has failed."""
        rng = self.rng
        if self._addresses and rng.random() < 0.1:
            late = Request("REPLY", address=rng.choice(self._addresses))
            if late.address != client.address:
                client.ask(late, [late.address, b"", *self._make_result(late)])
        self._addresses[5:] = [client.address]
        client.tasks = 0
        request = Request("REPLY", address=client.address if rng.random() < 0.9 else b"")
        if client.errors != "reply" and self.rng.random() < 0.4:
            request.result, request.errors = [b"ERR no"], client.errors
        else:
            self._make_result(request)
        client.ask(request, [*filter(None, [request.address]), b"", *request.result])
        return "reply"

    def _queue(self) -> str:
        rng, known = self.rng, list(self.world.oracle.topology.queues)
        return rng.choice(known) if known and rng.random() < 0.9 else rng.choice(OWN)

    # -- publishing

    def put(self, client: ZmtpClient) -> None:
        """Some tasks, most of them for one queue."""
        queue = self._queue()
        known = list(self.world.oracle.topology.queues)
        plain = self.rng.random() < 0.5
        for _ in range(self.rng.choice((1, 1, 2, 3, 5, 8))):
            if not client.able:
                return
            if plain:
                self._put_plain(client, queue)
            else:
                self._put_shaped(client, queue, known)

    def _put_plain(self, client: ZmtpClient, queue: str) -> None:
        message, frames = self._message(queue, self.rng.choice((1, 1, 1, 2, 3)))
        request = Request("PUT", client.envelope(), queue)
        if len(frames) > 1:
            more = [frames[0], b"", *frames[1:]]
            request.properties = Properties()
            client.ask(request, [b"PUT", queue.encode(), *more], message)
        else:
            client.ask(request, [b"PUT", queue.encode(), *frames], message)

    def _message(self, queue: str, parts: int) -> tuple[Message, list[bytes]]:
        """A message without properties, that has its number in its body."""
        self.world.operations.published += 1
        number = self.world.operations.published
        body = make_body(number, self.rng.choice([each for each in SIZES if each >= ID_BYTES]))
        cuts = sorted(self.rng.randint(0, len(body)) for _ in range(parts - 1))
        ends = [*cuts, len(body)]
        frames = [body[i:j] for i, j in zip([0, *cuts], ends, strict=True)]
        properties = Properties(delivery_mode=2)
        message = Message(number, "", queue, body, b"", b"", persistent=True)
        if parts > 1:
            properties.headers = message.headers = {PARTS: [len(each) for each in frames]}
        message.header = message.kept = encode_header_payload(len(body), properties)
        self.world.oracle.add_message(message)
        return message, frames

    def _put_shaped(self, client: ZmtpClient, queue: str, known: list[str]) -> None:
        self.world.operations.published += 1
        shape = make_shape(self.rng, self.world.profile, known)
        properties = shape.properties
        properties.delivery_mode = properties.delivery_mode or 2
        properties.headers = properties.headers or None
        message = make_message(self.world.operations.published, shape, "", queue, False)
        self.world.oracle.add_message(message)
        request = Request("PUT", client.envelope(), queue, properties=replace(properties))
        text = json.dumps(property_members(properties)).encode()
        client.ask(request, [b"PUT", queue.encode(), message.body, text], message)

    def task(self, client: ZmtpClient) -> None:
        """A message that is no verb, for the peer's queue."""
        message, frames = self._message(client.queue or "tasks", 1)
        client.ask(Request("TASK", client.envelope(), message.key), frames, message)

    # -- working

    def get(self, client: ZmtpClient) -> None:
        queue, wait_ms = self._queue(), self.rng.choice((0, 0, 0, *WAITS_MS))
        request = Request("GET", client.envelope(), queue, wait_ms)
        frames = [b"GET", queue.encode()]
        client.ask(request, [*frames, b"%d" % wait_ms] if wait_ms else frames)

    def next(self, client: ZmtpClient) -> None:
        queue = self._queue()
        before = dict(client.leases)
        tag = self._take_tag(client, 0.4)
        if self.rng.random() < 0.8:
            queue = before.get(tag, queue)
        request = Request("NEXT", client.envelope(), queue, tag=tag)
        frames = [b"NEXT", queue.encode()]
        if tag:
            frames += [tag.encode(), *self._result(request)]
        client.ask(request, frames)

    def ack(self, client: ZmtpClient) -> None:
        if not client.leases and self.rng.random() < 0.9:
            self.next(client)
            return
        tag = self._take_tag(client, 0.0)
        request = Request("ACK", client.envelope(), tag=tag)
        client.ask(request, [b"ACK", tag.encode(), *self._result(request)])

    def nack(self, client: ZmtpClient) -> None:
        if not client.leases and self.rng.random() < 0.9:
            self.put(client)
            return
        tag = self._take_tag(client, 0.0)
        request = Request("NACK", client.envelope(), tag=tag)
        request.requeue = self.rng.random() < 0.6
        more = [] if request.requeue and self.rng.random() < 0.5 else [b"%d" % request.requeue]
        client.ask(request, [b"NACK", tag.encode(), *more])

    def _take_tag(self, client: ZmtpClient, none: float) -> str:
        """Of a task that the peer has, or had; `none`: the chance of ''."""
        rng = self.rng
        if rng.random() < none:
            return ""
        if not client.leases or rng.random() < 0.02:
            return rng.choice([*client.done, "nothing-1"]) if not none else ""
        tag = rng.choice(list(client.leases))
        del client.leases[tag]
        client.done[5:] = [tag]
        return tag

    def _result(self, request: Request) -> list[bytes]:
        return [] if self.rng.random() < 0.6 else self._make_result(request)

    def _make_result(self, request: Request) -> list[bytes]:
        self.world.operations.published += 1
        request.result_number = self.world.operations.published
        body = make_body(request.result_number, self.rng.choice((8, 9, 20, 64)))
        at = self.rng.randint(0, len(body))
        request.result = [body] if self.rng.random() < 0.7 else [body[:at], body[at:]]
        return request.result

    # -- questions

    def length(self, client: ZmtpClient) -> None:
        queue = self._queue()
        client.ask(Request("LEN", client.envelope(), queue), [b"LEN", queue.encode()])

    def ping(self, client: ZmtpClient) -> None:
        client.ask(Request("PING", client.envelope()), [b"PING"])


OPERATIONS: tuple[tuple[float, Callable[[ZmtpOperations, ZmtpClient], None]], ...] = (
    (30, ZmtpOperations.put),
    (8, ZmtpOperations.task),
    (12, ZmtpOperations.get),
    (18, ZmtpOperations.next),
    (22, ZmtpOperations.ack),
    (8, ZmtpOperations.nack),
    (2, ZmtpOperations.length),
    (1, ZmtpOperations.ping),
)
"""(weight, operation)."""
