"""The properties of a message as bytes that can be changed here and there: what is not changed stays byte for byte.

properties   flags u16 | fields in the order of their flags      one of them, headers, is a table of entries
"""

from __future__ import annotations

import struct

from mansio.codec.amqp_properties import PROPERTY_BITS, property_spans
from mansio.codec.amqp_values import Value, encode_longstr, encode_table, table_spans

_U16 = struct.Struct(">H")


class Fields:
    """Properties taken apart: each field's bytes by name. CodecError when they are malformed."""

    def __init__(self, properties: bytes) -> None:
        spans = property_spans(properties, 0, len(properties))
        self.fields = {name: properties[start:stop] for name, (start, stop) in spans.items()}
        self.entries: dict[str, bytes] = {}
        """The entries of the headers: name and value; of entries with the same name the first."""
        headers = self.fields.pop("headers", None)
        self._had_headers = headers is not None
        if headers is not None:
            for name, start, stop in table_spans(headers, 0, len(headers)):
                self.entries.setdefault(name, headers[start:stop])

    def set(self, name: str, value: Value) -> None:
        """Gives the headers an entry, in place of one with this name."""
        self.entries[name] = encode_table({name: value})[4:]

    def sort(self) -> None:
        """Puts the headers into the order of their names' bytes, as RabbitMQ does when it adds one."""
        entries = sorted(
            self.entries.items(), key=lambda entry: entry[0].encode("utf-8", "surrogateescape")
        )
        self.entries = dict(entries)

    def encode(self) -> bytes:
        """The flag word and the fields."""
        if self._had_headers or self.entries:
            table = encode_longstr(b"".join(self.entries.values()))
            fields = self.fields | {"headers": table}
        else:
            fields = self.fields
        flags = 0
        parts = [b""]
        for bit, name in PROPERTY_BITS:
            if name in fields:
                flags |= bit
                parts.append(fields[name])
        parts[0] = _U16.pack(flags)
        return b"".join(parts)
