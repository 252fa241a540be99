"""An AMQP message as routing sees it: `core.view.View`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import CodecError
from mansio.core.field_values import NO_HEADERS
from mansio.protocol.amqp.content import Content

_NAMES = tuple(each.name for each in fields(Properties) if each.name != "headers")


class MessageView:
    """One message that was taken apart, with what it was published with."""

    __slots__ = ("_content", "_found", "_properties", "exchange", "memo", "routing_key")

    def __init__(
        self, content: Content, properties: Properties, exchange: str, routing_key: str
    ) -> None:
        self.memo: Any = None
        self.exchange = exchange
        self.routing_key = routing_key
        self._content = content
        self._found = properties
        self._properties: dict[str, Any] | None = None

    @property
    def headers(self) -> Mapping[str, Any]:
        return self._found.headers or NO_HEADERS

    @property
    def properties(self) -> Mapping[str, Any]:
        if self._properties is None:
            values = ((name, getattr(self._found, name)) for name in _NAMES)
            self._properties = {name: value for name, value in values if value is not None}
        return self._properties

    @property
    def body(self) -> bytes:
        return self._content.body


def view_frames(frames: bytes, exchange: str, key: str) -> MessageView:
    """Of header and body frames; without properties where they are malformed."""
    content = Content.parse(frames)
    try:
        properties = content.properties()
    except CodecError:
        properties = Properties()
    return MessageView(content, properties, exchange, key)
