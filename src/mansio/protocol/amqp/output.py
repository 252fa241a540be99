"""The output of one connection: frames in order, written once a turn, and the outbox that the Broker delivers to."""

from collections import deque
from struct import Struct
from typing import Any, Final

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import encode_deliveries, rechannel
from mansio.codec.amqp_values import encode_shortstr
from mansio.core.dispatch import Consumer
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.core.session import Channel
from mansio.protocol.amqp.content import Content
from mansio.protocol.amqp.replies import DUPLICATE, NO_ROUTE

_METHOD_HEAD: Final = Struct(">BHI")

LARGE_BYTES: Final = 4096
"""From this mean size on, contents are written from where they lie: a copy costs more than another buffer."""


class Output:
    """Encodes what goes to the client. See `core.session.Outbox` for what the Broker tells it."""

    def __init__(self, announce: list[Any], frame_max: int, now_ns: int) -> None:
        """`announce`: the list of fronts with output that the server looks at."""
        self._announce = announce
        self._announced = False
        self._out: list[bytes | memoryview] = []
        self._gates: deque[int] = deque()  # pieces of it in front of each gate; see `hold`
        self.frame_max = frame_max
        self.now_ns = now_ns  # when something was last received, or the last tick
        self.sent_ns = now_ns
        self.client: dict[str, Any] = {}  # client properties

    def capable(self, name: str) -> bool:
        """Whether the client said that it understands an extension."""
        capabilities = self.client.get("capabilities")
        return isinstance(capabilities, dict) and capabilities.get(name) is True

    def send_raw(self, data: bytes) -> None:
        """Whole frames to the client."""
        self._out.append(data)
        if not self._announced:
            self.wake()

    def send_at_once(self, data: bytes) -> None:
        """Whole frames that need not wait for what is held back."""
        if self._gates:
            self._out.insert(self._gates[0], data)
            self._gates = deque(gate + 1 for gate in self._gates)
            self.wake()
        else:
            self.send_raw(data)

    def wake(self) -> None:
        """Makes the server look at this connection at the end of the turn."""
        if not self._announced:
            self._announced = True
            self._announce.append(self)

    def send_method(self, channel: int, method: m.Method) -> None:
        """A method frame to the client."""
        self.send_raw(m.method_frame(channel, method))

    def send_content(self, channel: int, method: m.Method, run: Run, i: int) -> None:
        """A method frame with message `i` of a run behind it."""
        content = Content.parse(run.content(i))
        self.send_raw(m.method_frame(channel, method) + content.frames(channel, self.frame_max))

    def data_to_send(self) -> list[bytes | memoryview]:
        """See `Front`."""
        self._announced = False
        if self._gates:
            out = self._take_free()
        else:
            out, self._out = self._out, []
        if out:
            self.sent_ns = self.now_ns
        return out

    def _take_free(self) -> list[bytes | memoryview]:
        """What is in front of the first gate."""
        free = self._gates[0]
        out = self._out[:free]
        del self._out[:free]
        self._gates = deque(gate - free for gate in self._gates)
        return out

    @property
    def gated(self) -> bool:
        """Whether what is said waits for the log: then there is no use in saying more."""
        return bool(self._gates)

    # -- outbox

    def expelled(self, why: str) -> None:
        """See `Outbox`."""
        raise NotImplementedError

    def hold(self) -> None:
        """See `Outbox`: a gate, behind which everything waits that is said from now on."""
        self._gates.append(len(self._out))

    def release(self, ok: bool) -> None:
        """See `Outbox`."""
        if ok and self._gates:
            self._gates.popleft()
            self.wake()
        elif self._gates:
            self.drop_held()
            self.refuse_storage(0)

    def drop_held(self) -> None:
        """Nothing that waits may be said."""
        del self._out[self._gates[0] :]
        self._gates.clear()

    def refuse_storage(self, number: int) -> None:
        """What a channel asked to be kept could not be: closes the connection, so that nobody relies on it."""
        raise NotImplementedError

    def deliver(
        self,
        consumer: Consumer,
        run: Run,
        start: int,
        count: int,
        step: int,
        tag: int,
        redelivered: bool,
    ) -> None:
        """See `Outbox`."""
        routes = run.routes
        first = routes[0]
        frame_max = first.frame_max
        if first.fresh is None:  # restored from the log
            add_tails(first)
        if run.which is not None:  # they may have come one after the other
            for route in routes:
                frame_max = max(route.frame_max, frame_max)
                if route.fresh is None:
                    add_tails(route)
        if frame_max > self.frame_max:
            self._deliver_reframed(
                consumer, run, range(start, start + count * step, step), tag, redelivered
            )
            return
        if len(run.data) >= LARGE_BYTES * run.count:
            numbers = range(start, start + count * step, step)
            self._deliver_large(consumer, run, numbers, tag, redelivered)
            return
        if run.which is None:
            tails = (first.again if redelivered else first.fresh,)
        else:
            tails = tuple([route.again if redelivered else route.fresh for route in routes])
        self._out.append(
            encode_deliveries(
                run.data,
                run.stride,
                run.ends,
                run.which,
                tails,
                start,
                count,
                step,
                consumer.wire,
                tag,
                consumer.channel.number,
            )
        )
        if not self._announced:
            self._announced = True
            self._announce.append(self)

    def _deliver_large(
        self, consumer: Consumer, run: Run, numbers: range, tag: int, redelivered: bool
    ) -> None:
        """Deliveries whose contents go out from where they lie, without being copied together."""
        number = consumer.channel.number
        data = memoryview(run.data)
        out = self._out
        wire: bytes = consumer.wire
        stride = run.stride
        last = None
        for i in numbers:
            route = run.route(i)
            if route is not last:
                last = route
                skip, tail, source = route.again if redelivered else route.fresh
                size = len(wire) + 8 + len(tail) - 1
                head = _METHOD_HEAD.pack(m.FRAME_METHOD, number, size) + wire
            start, stop = (i * stride, (i + 1) * stride) if stride else run.bounds(i)
            out.append(head + tag.to_bytes(8, "big") + tail)
            content = data[start + skip : stop]
            out.append(content if source == number else rechannel(bytes(content), number))
            tag += 1
        self.wake()

    def _deliver_reframed(
        self, consumer: Consumer, run: Run, numbers: range, tag: int, redelivered: bool
    ) -> None:
        """Deliveries to a client that takes smaller frames than the publisher sent."""
        for i in numbers:
            route = run.route(i)
            method = m.BasicDeliver(
                consumer.tag, tag, redelivered, route.exchange, route.routing_key
            )
            self.send_content(consumer.channel.number, method, run, i)
            tag += 1

    def returned(self, channel: Channel, run: Run, i: int, route: Route) -> None:
        """See `Outbox`."""
        method = m.BasicReturn(NO_ROUTE, "NO_ROUTE", route.exchange, route.routing_key)
        self.send_content(channel.number, method, run, i)

    def duplicate(self, channel: Channel, run: Run, i: int, route: Route) -> None:
        """See `Outbox`."""
        method = m.BasicReturn(DUPLICATE, "DUPLICATE", route.exchange, route.routing_key)
        self.send_content(channel.number, method, run, i)

    def cancelled(self, channel: Channel, consumer_tag: str) -> None:
        """See `Outbox`."""
        if self.capable("consumer_cancel_notify"):
            self.send_method(channel.number, m.BasicCancel(consumer_tag=consumer_tag, no_wait=True))

    def confirmed(self, channel: Channel, upto: int, rejected: list[tuple[int, int]]) -> None:
        """See `Outbox`."""
        if channel.wire is not None:
            channel.wire.confirm(upto, rejected)

    def refused(self, channel: Channel, upto: int) -> None:
        """See `Outbox`."""
        if channel.wire is not None:
            channel.wire.refuse(upto)

    def committed(self, channel: Channel, ok: bool, partly: bool) -> None:
        """See `Outbox`."""
        if channel.wire is not None:
            channel.wire.committed(ok, partly)


def add_tails(route: Route) -> None:
    """What `encode_deliveries` needs of a route: for messages that are delivered first, and for those again."""
    tail = encode_shortstr(route.exchange) + encode_shortstr(route.routing_key) + b"\xce"
    route.fresh = (route.skip, b"\x00" + tail, route.channel)
    route.again = (route.skip, b"\x01" + tail, route.channel)
