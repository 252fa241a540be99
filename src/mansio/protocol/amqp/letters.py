"""What the broker writes into AMQP messages: see `core.letters`.

What a change does not concern stays byte for byte. Dead-lettered messages look as RabbitMQ 3.10.8 makes them: headers
sorted by name, `x-death` an array of tables with the last death first.
"""

from typing import Any, Final, NamedTuple

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import stamp_offsets
from mansio.codec.amqp_content import properties_of, with_properties
from mansio.codec.amqp_fields import Fields
from mansio.codec.amqp_properties import Properties, decode_properties, encode_header_payload
from mansio.codec.amqp_values import Long, Timestamp, Value
from mansio.codec.resp import bodies, encode_contents
from mansio.core.letters import Death, Letter, Wishes
from mansio.core.marks import Marks
from mansio.core.receipts import Receipt
from mansio.core.routing import Arguments, Route
from mansio.core.run import Run, make_run
from mansio.core.users import User
from mansio.core.view import View
from mansio.protocol.amqp.content import copies
from mansio.protocol.amqp.marks import marks_of_moved
from mansio.protocol.amqp.message_view import view_frames
from mansio.protocol.amqp.wishes import wishes_of

_MEMO_MAX: Final = 1024


class _Written(NamedTuple):
    """New properties of messages that are alike, and what `Letter` says of them."""

    properties: bytes
    keys: list[str]
    headers: Arguments
    priority: int
    deaths: list[tuple[str, str, int]]


class AmqpLetters:
    """Takes AMQP messages apart and writes new ones."""

    def __init__(self, frame_max: int) -> None:
        """`frame_max`: bytes of the largest frame that publishers may send, framing included."""
        self.frame_max = frame_max
        self._memo: dict[tuple[bytes, Death], _Written] = {}

    def dead_letter(self, run: Run, i: int, death: Death) -> Letter:
        """See `Letters`."""
        frames = run.content(i)
        properties = properties_of(frames)
        written = self._memo.get((properties, death))
        if written is None:
            if len(self._memo) >= _MEMO_MAX:
                self._memo.clear()
            written = self._memo[properties, death] = _write_death(properties, death)
        data = with_properties(frames, written.properties)
        return Letter(data, written.keys, written.headers, written.priority, None, written.deaths)

    def wishes(self, frames: bytes, user: User) -> Wishes:
        """See `Letters`."""
        return wishes_of(frames, user, self.frame_max)

    def receipt(self, receipt: Receipt, key: str) -> Run:
        """See `Letters`."""
        headers: dict[str, Value] = {"x-receipt-outcome": receipt.outcome}
        if receipt.queue is not None:
            headers["x-receipt-queue"] = receipt.queue
        if receipt.consumer is not None:
            headers["x-receipt-consumer"] = receipt.consumer
        headers["x-receipt-ms"] = Long(receipt.age_ms)
        headers["x-receipt-deliveries"] = Long(receipt.deliveries)
        properties = Properties(headers=headers, correlation_id=receipt.correlation)
        properties.delivery_mode = 2 if receipt.persistent else 1
        properties.type = "mansio.receipt"
        frames = m.frame(m.FRAME_HEADER, 0, encode_header_payload(0, properties))
        route = Route("", key, ())
        route.frame_max = self.frame_max
        return make_run([frames], route, receipt.persistent)

    def again(self, run: Run, i: int) -> Letter:
        """See `Letters`."""
        frames = run.content(i)
        properties = properties_of(frames)
        headers = decode_properties(properties, 0, len(properties)).headers or {}
        if "BCC" in headers:
            fields = Fields(properties)
            fields.entries.pop("BCC")
            frames = with_properties(frames, fields.encode())
        keys = [run.route(i).routing_key, *copies(headers)]
        return Letter(frames, keys, headers, run.priority, run.expiration_ms, [])

    def marks(self, run: Run, i: int) -> Marks | None:
        """See `Letters`."""
        properties = properties_of(run.content(i))
        return marks_of_moved(decode_properties(properties, 0, len(properties)))

    def counted(self, run: Run, i: int, deliveries: int) -> Run:
        """See `Letters`."""
        frames = run.content(i)
        fields = Fields(properties_of(frames))
        fields.set("x-delivery-count", Long(deliveries))
        fields.sort()
        data = with_properties(frames, fields.encode())
        route = run.route(i)
        same = Route(route.exchange, route.routing_key, (), channel=route.channel)
        same.frame_max = route.frame_max
        return make_run([data], same, run.persistent)

    def numbered(self, run: Run, first: int) -> Run:
        """See `Letters`."""
        skips = tuple([route.skip for route in run.routes])
        data, stride, ends = stamp_offsets(
            run.data, run.count, run.stride, run.ends, skips, run.which, first
        )
        numbered = Run(data, run.count, stride, ends, run.routes, run.which, persistent=True)
        numbered.arrived_ms = run.arrived_ms
        return numbered

    def contents(self, values: list[bytes], route: Route) -> Run:
        """See `Letters`."""
        data, stride, ends = encode_contents(values, True, self.frame_max)
        route.frame_max = self.frame_max
        return Run(data, len(values), stride, ends, (route,), None, True)

    def bodies(self, run: Run, start: int, stop: int) -> list[bytes]:
        """See `Letters`."""
        skips = tuple([route.skip for route in run.routes])
        return bodies(run.data, run.stride, run.ends, skips, run.which, start, stop)

    def view(self, frames: bytes, exchange: str, key: str) -> View:
        """See `Letters`."""
        return view_frames(frames, exchange, key)


def _write_death(properties: bytes, death: Death) -> _Written:
    found = decode_properties(properties, 0, len(properties))
    headers: dict[str, Any] = dict(found.headers or {})
    copied = copies(headers)
    entry: dict[str, Value] = {
        "count": Long(1),
        "reason": death.reason,
        "queue": death.queue,
        "time": Timestamp(death.time_s),
        "exchange": death.exchange,
        "routing-keys": [death.key, *copied],
    }
    if found.expiration is not None:
        entry["original-expiration"] = found.expiration
    before = headers.get("x-death")
    deaths: list[Value] = _add_death(before, entry) if isinstance(before, list) else [entry]
    fields = Fields(properties)
    fields.fields.pop("expiration", None)
    keys = [death.key, *copied]
    if death.new_key is not None:
        keys = [death.new_key]
        fields.entries.pop("CC", None)
    if "x-death" not in headers:
        fields.set("x-first-death-exchange", death.exchange)
        fields.set("x-first-death-queue", death.queue)
        fields.set("x-first-death-reason", death.reason)
    fields.set("x-last-death-exchange", death.exchange)
    fields.set("x-last-death-queue", death.queue)
    fields.set("x-last-death-reason", death.reason)
    fields.set("x-death", deaths)
    fields.sort()
    written = fields.encode()
    headers = dict(decode_properties(written, 0, len(written)).headers or {})
    counted = [
        (str(each.get("queue")), str(each.get("reason")), _count(each.get("count")))
        for each in deaths
        if isinstance(each, dict)
    ]
    return _Written(written, keys, headers, found.priority or 0, counted)


def _count(value: Value) -> int:
    return max(value, 1) if isinstance(value, int) else 1


def _add_death(before: list[Any], entry: dict[str, Value]) -> list[Value]:
    """An x-death header with this death on top; one of the same queue and reason is counted up and moves there.

    Keys of entries are sorted then, and of several entries the order is turned round (RabbitMQ 3.10.8 observed).
    """
    tables = [each for each in before if isinstance(each, dict)]
    deaths: dict[tuple[Any, Any], dict[str, Value]] = {}
    for each in tables:
        kind = each.get("queue"), each.get("reason")
        if len(tables) > 1 and "count" not in each:
            same = sum((other.get("queue"), other.get("reason")) == kind for other in tables)
            each = dict(sorted((each | {"count": same}).items()))
        count = each.get("count")
        deaths.setdefault(kind, each | {"count": Long(count)} if isinstance(count, int) else each)
    found = deaths.pop((entry["queue"], entry["reason"]), None)
    others = list(deaths.values())
    if len(tables) > 1:
        others.reverse()
    if found is not None:
        count = found.get("count")
        entry = found | {"count": Long(count + 1 if isinstance(count, int) else 1)}
    return [dict(sorted(entry.items())), *others]
