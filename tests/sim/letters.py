"""How a dead letter has to look, and where it does not go: RabbitMQ's rules (3.10.8), as the oracle knows them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mansio.codec.amqp_properties import Properties, decode_properties, encode_header_payload
from mansio.codec.amqp_values import Table, Timestamp
from tests.sim.wire import Message

HEADER_FIXED_BYTES = 12
"""Class, weight and body size in front of the properties."""
COUNT = "x-delivery-count"


@dataclass(slots=True)
class Cause:
    """Why and where a message died, and what its queue says of dead letters."""

    queue: str
    reason: str
    time_s: int
    exchange: str
    new_key: str | None


def properties_of(header: bytes) -> Properties:
    """The properties in a header payload."""
    return decode_properties(header, HEADER_FIXED_BYTES, len(header))


def make_letter(message: Message, cause: Cause) -> Message:
    """The message as it is published again; its header bytes are those that the oracle would choose."""
    properties = properties_of(message.header)
    headers: Table = dict(properties.headers or {})
    copies = list(message.copies) if "CC" in headers else []
    entry: dict[str, Any] = {
        "count": 1,
        "reason": cause.reason,
        "queue": cause.queue,
        "time": Timestamp(cause.time_s),
        "exchange": message.exchange,
        "routing-keys": [message.key, *copies],
    }
    if properties.expiration is not None:
        entry["original-expiration"] = properties.expiration
    about = {"exchange": message.exchange, "queue": cause.queue, "reason": cause.reason}
    if not message.deaths:
        headers |= {f"x-first-death-{name}": value for name, value in about.items()}
    headers |= {f"x-last-death-{name}": value for name, value in about.items()}
    deaths = add_death(message.deaths, entry)
    headers["x-death"] = [dict(each) for each in deaths]
    if cause.new_key is not None:
        headers.pop("CC", None)
        copies = []
    properties = replace(properties, expiration=None, headers=headers)
    key = message.key if cause.new_key is None else cause.new_key
    letter = Message(message.number, cause.exchange, key, message.body, b"", b"", headers=headers)
    letter.header = encode_header_payload(len(message.body), properties)
    letter.copies = tuple(copies)
    letter.persistent, letter.priority = message.persistent, properties.priority or 0
    letter.deaths = deaths
    letter.asks_receipt = message.asks_receipt
    return letter


def add_death(before: list[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Newest first; one of the same queue and reason is counted up, and keeps what it says. The others change their
    order at every death, if there are two or more."""
    kind = entry["queue"], entry["reason"]
    same = [each for each in before if (each["queue"], each["reason"]) == kind]
    others = [each for each in before if each not in same]
    if len(before) > 1:
        others = others[::-1]
    if same:
        entry = {**same[0], "count": same[0]["count"] + 1}
    return [entry, *others]


def goes_round(deaths: list[dict[str, Any]], target: str) -> bool:
    """Whether the message came from this queue without anybody rejecting it since: it does not go there again.

    Nor does it if it came from there so often that nobody can have rejected it each time.
    """
    rejected = [each for each in deaths if each["reason"] == "rejected"]
    from_there = [each for each in deaths if each["queue"] == target and each not in rejected]
    if sum(each["count"] for each in from_there) > sum(each["count"] for each in rejected):
        return True
    for each in deaths:
        if each["reason"] == "rejected":
            return False
        if each["queue"] == target:
            return True
    return False


def split_count(header: bytes) -> tuple[Properties, int]:
    """The properties without the count of deliveries, and that; 0 when there is none."""
    properties = properties_of(header)
    headers = dict(properties.headers or {})
    count = headers.pop(COUNT, 0)
    assert isinstance(count, int)
    return replace(properties, headers=headers or None), count
