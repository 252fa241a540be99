"""Bodies and properties of messages as members of JSON objects, and back.

    "body": "text"                a body of these characters in UTF-8
    "body": any other value       the value as JSON, with the content type application/json
    "body_base64": "3q0="         any bytes
    "parts_base64": ["…", "…"]    a message of several frames

A body comes back as the value if its content type is application/json, else as text if it is UTF-8, else in base64.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from dataclasses import fields
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any, Final

from mansio.codec.amqp_properties import Properties, decode_properties
from mansio.codec.amqp_values import SHORTSTR_BYTES_MAX, CodecError, Table, Value
from mansio.core.limits import TIME_MAX_MS
from mansio.protocol.zmtp.messages import PARTS
from mansio.protocol.zmtp.statuses import ILL_FORMED, TOO_LARGE, Refused

JSON: Final = "application/json"
_NAMES: Final = tuple(each.name for each in fields(Properties) if each.name != "headers")
_DEPTH_MAX: Final = 32
"""Of tables and lists of headers inside each other."""
_DELAY: Final = "x-delay"
_KNOWN_BYTES_MAX: Final = 256
"""Properties of so many bytes are remembered with their text: those of most messages are alike."""

# -- from JSON


def parse(text: bytes, what: str) -> Any:
    """A JSON text; Refused, `what` says of what it is a part."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(ILL_FORMED, f"{what}: no JSON") from None


def parse_properties(text: bytes) -> Properties:
    """What stands behind a body: a JSON object, or nothing. Refused."""
    return properties_from(parse(text, "the properties") if text else {})


def properties_from(members: Any) -> Properties:
    """Of a JSON object; Refused. delay, in milliseconds, is the header x-delay; expiration may be a number as well."""
    if not isinstance(members, dict):
        raise Refused(ILL_FORMED, "the properties: no JSON object")
    found = Properties(delivery_mode=2)
    headers: Table = {}
    for name, value in members.items():
        if value is None:
            continue
        if name == "headers":
            headers |= _headers(value)
        elif name == "delay":
            headers[_DELAY] = _number(name, value, TIME_MAX_MS)
        else:
            take = _TAKERS.get(name)
            if take is None:
                raise Refused(ILL_FORMED, f"there is no property {shown(name)}")
            setattr(found, name, take(name, value))
    found.headers = headers or None
    return found


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(ILL_FORMED, f"the property {name} is a text")
    if len(value.encode("utf-8", "surrogatepass")) > SHORTSTR_BYTES_MAX:
        raise Refused(TOO_LARGE, f"the property {name} has at most {SHORTSTR_BYTES_MAX} bytes")
    return _plain(name, value)


def _plain(name: str, value: str) -> str:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refused(ILL_FORMED, f"{shown(name)} has characters that are none") from None
    return value


def _number(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise Refused(ILL_FORMED, f"the property {name} is a number from 0 to {most}")
    return value


def _mode(name: str, value: Any) -> int:
    if value not in (1, 2) or isinstance(value, bool | float):
        raise Refused(ILL_FORMED, "delivery_mode is 1, in memory only, or 2, stored")
    return int(value)


def _expiration(name: str, value: Any) -> str:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return str(_number(name, value, TIME_MAX_MS))


_TAKERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    **dict.fromkeys(_NAMES, _text),
    "delivery_mode": _mode,
    "priority": lambda name, value: _number(name, value, 255),
    "timestamp": lambda name, value: _number(name, value, (1 << 64) - 1),
    "expiration": _expiration,
}


def _headers(value: Any) -> Table:
    if not isinstance(value, dict):
        raise Refused(ILL_FORMED, "the headers: no JSON object")
    return _table(value, 0)


def _table(value: dict[str, Any], depth: int) -> Table:
    for name in value:
        if len(name.encode("utf-8", "surrogatepass")) > SHORTSTR_BYTES_MAX:
            raise Refused(TOO_LARGE, f"the name of a header has at most {SHORTSTR_BYTES_MAX} bytes")
    return {_plain(name, name): _field(name, each, depth) for name, each in value.items()}


def _field(name: str, value: Any, depth: int) -> Value:
    """A value as a header may have it."""
    if depth > _DEPTH_MAX:
        raise Refused(ILL_FORMED, f"the header {shown(name)} is nested too deep")
    if isinstance(value, dict):
        return _table(value, depth + 1)
    if isinstance(value, list):
        return [_field(name, each, depth + 1) for each in value]
    if isinstance(value, str):
        return _plain(name, value)
    wrong = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    if wrong or (isinstance(value, float) and not isfinite(value)):
        raise Refused(ILL_FORMED, f"the header {shown(name)} has a number that is too large")
    return value  # type: ignore[no-any-return]


def body_from(members: dict[str, Any], name: str) -> tuple[list[bytes], str | None]:
    """The frames that `name`, `name`_base64 or parts_base64 say, and their content type if it follows; Refused. No
    frames: none of them is there."""
    if name in members:
        value = members[name]
        if isinstance(value, str):
            return [_plain(name, value).encode("utf-8", "surrogateescape")], None
        return [json.dumps(value).encode()], JSON
    if f"{name}_base64" in members:
        return [_bytes(members[f"{name}_base64"])], None
    parts = members.get("parts_base64", [])
    if not isinstance(parts, list):
        raise Refused(ILL_FORMED, "parts_base64 is a list of texts")
    return [_bytes(part) for part in parts], None


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except (NotBase64, ValueError):
            pass
    raise Refused(ILL_FORMED, "no base64 where it is expected")


# -- to JSON


def body_members(frames: Sequence[bytes], content_type: str | None) -> dict[str, Any]:
    """The members that say a body; see above."""
    if len(frames) != 1:
        return {"parts_base64": [b64encode(each).decode() for each in frames]}
    body = frames[0]
    try:
        if content_type == JSON:
            return {"body": json.loads(body)}
    except (ValueError, RecursionError):
        pass
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode()}


def property_members(properties: Properties) -> dict[str, Any]:
    """The properties that a message has; its frames' sizes are not among them."""
    found: dict[str, Any] = {
        name: value for name in _NAMES if (value := getattr(properties, name)) is not None
    }
    headers = dict(properties.headers or {})
    headers.pop(PARTS, None)
    if headers:
        found["headers"] = _plain_value(headers)
    return found


def properties_json(raw: bytes) -> bytes:
    """The same as a JSON text, of properties as AMQP has them; of malformed ones an empty object."""
    return _known_json(raw) if len(raw) <= _KNOWN_BYTES_MAX else _encode_json(raw)


@lru_cache(1024)
def _known_json(raw: bytes) -> bytes:
    return _encode_json(raw)


def _encode_json(raw: bytes) -> bytes:
    try:
        return json.dumps(property_members(decode_properties(raw, 0, len(raw)))).encode()
    except CodecError:
        return b"{}"


def _plain_value(value: Value) -> Any:
    """A header as JSON can say it: bytes as text, or in base64; other numbers as texts."""
    if isinstance(value, dict):
        return {name: _plain_value(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    return str(value) if isinstance(value, Decimal) else value


def shown(name: str) -> str:
    """A name that a peer has chosen, in a text."""
    return f"'{name[:64]}'"
