"""Values of AMQP tables: their wire form and their readable form in transcripts.

A value is a pair (type letter, content). Written in a transcript:

    5 -5          'I' signed 32 bits when it fits, else 'l' signed 64 bits
    true false    't'
    word "text"   'S' long string (JSON escapes inside quotes)
    void          'V'
    {a=1 b=x}     'F' table           [1 x {a=2}]   'A' array
    X:text        any other type letter: b B s u i l L f d D T x, e.g. T:1700000000, d:1.5, D:2:314, x:00ff

Bytes are shown as UTF-8; bytes that are not UTF-8 become lone surrogates (\\udcXX), which go back to the same bytes.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

Value = tuple[str, Any]
Table = dict[str, Value]

FIXED = {
    "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">Q",
    "f": ">f", "d": ">d", "T": ">Q",
}  # fmt: skip
BARE_WORD = re.compile(r"[A-Za-z_*#/$.][\w*#/$.@+-]*\Z")
KEYWORDS = {"true": ("t", 1), "false": ("t", 0), "void": ("V", None)}
TYPED = re.compile(r"[a-zA-Z]:")


def to_text(raw: bytes) -> str:
    """Bytes as text that `to_bytes` turns back into the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Inverse of to_text."""
    return text.encode("utf-8", "surrogateescape")


def encode_value(value: Value) -> bytes:
    """Type octet and content."""
    letter, content = value
    tag = letter.encode("ascii")
    if letter in FIXED:
        return tag + struct.pack(FIXED[letter], content)
    if letter == "t":
        return tag + bytes([content])
    if letter == "V":
        return tag
    if letter == "D":
        scale, number = content
        return tag + struct.pack(">Bi", scale, number)
    if letter in "Sx":
        raw = to_bytes(content) if letter == "S" else bytes(content)
        return tag + struct.pack(">I", len(raw)) + raw
    if letter == "F":
        return tag + encode_table(content)
    if letter == "A":
        items = b"".join(encode_value(item) for item in content)
        return tag + struct.pack(">I", len(items)) + items
    raise ValueError(f"unknown value type {letter!r}")


def encode_table(table: Table) -> bytes:
    """Table with its length."""
    parts = []
    for key, value in table.items():
        raw = to_bytes(key)
        parts.append(bytes([len(raw)]) + raw + encode_value(value))
    body = b"".join(parts)
    return struct.pack(">I", len(body)) + body


def decode_value(raw: bytes, pos: int) -> tuple[Value, int]:
    """The value whose type octet is at pos, and the position behind it."""
    letter = chr(raw[pos])
    pos += 1
    if letter in FIXED:
        size = struct.calcsize(FIXED[letter])
        return (letter, struct.unpack_from(FIXED[letter], raw, pos)[0]), pos + size
    if letter == "t":
        return (letter, raw[pos]), pos + 1
    if letter == "V":
        return (letter, None), pos
    if letter == "D":
        return (letter, struct.unpack_from(">Bi", raw, pos)), pos + 5
    (size,) = struct.unpack_from(">I", raw, pos)
    pos += 4
    end = pos + size
    if letter in "Sx":
        content = raw[pos:end]
        return (letter, to_text(content) if letter == "S" else content), end
    if letter == "F":
        return (letter, decode_table(raw, pos - 4)[0]), end
    if letter == "A":
        items = []
        while pos < end:
            item, pos = decode_value(raw, pos)
            items.append(item)
        return (letter, items), end
    raise ValueError(f"unknown value type {letter!r}")


def decode_table(raw: bytes, pos: int) -> tuple[Table, int]:
    """The table whose length is at pos, and the position behind it."""
    (size,) = struct.unpack_from(">I", raw, pos)
    pos += 4
    end = pos + size
    table: Table = {}
    while pos < end:
        key_end = pos + 1 + raw[pos]
        key = to_text(raw[pos + 1 : key_end])
        table[key], pos = decode_value(raw, key_end)
    return table, end


def show_text(text: str) -> str:
    """A word as it is, anything else as a JSON string; a long row of one character as x*300."""
    if len(text) > 64 and text == text[0] * len(text) and BARE_WORD.match(text[0]):
        return f"{text[0]}*{len(text)}"
    if BARE_WORD.match(text) and text not in KEYWORDS:
        return text
    shown = json.dumps(text, ensure_ascii=False)
    return re.sub("[\udc80-\udcff]", lambda found: f"\\u{ord(found[0]):04x}", shown)


def show_value(value: Value) -> str:
    """A value in the notation described on top."""
    letter, content = value
    if letter == "S":
        return show_text(content)
    if letter == "t":
        return ("false", "true")[content] if content < 2 else f"t:{content}"
    if letter == "V":
        return "void"
    if letter == "F":
        return show_table(content)
    if letter == "A":
        return "[" + " ".join(show_value(item) for item in content) + "]"
    if letter == "I" or (letter == "l" and not -(2**31) <= content < 2**31):
        return str(content)
    if letter == "D":
        return f"D:{content[0]}:{content[1]}"
    if letter == "x":
        return f"x:{content.hex()}"
    return f"{letter}:{content}"


def show_table(table: Table) -> str:
    """A table with its keys in wire order."""
    return "{" + " ".join(f"{show_text(key)}={show_value(v)}" for key, v in table.items()) + "}"


class Reader:
    """Reads words, strings, values and tables from one transcript line, left to right.

    names are the generated names that words such as $gen1 stand for.
    """

    WORD = re.compile(r'[^\s={}\[\]"]+')

    def __init__(self, line: str, names: Mapping[str, str] | None = None) -> None:
        self.line = line
        self.pos = 0
        self.names = names or {}

    def skip(self, text: str) -> bool:
        """Skip spaces, and then the given text if it is next; whether it was."""
        while self.line[self.pos : self.pos + 1] == " ":
            self.pos += 1
        found = bool(text) and self.line.startswith(text, self.pos)
        if found:
            self.pos += len(text)
        return found

    def at_end(self) -> bool:
        """Whether only spaces are left."""
        self.skip("")
        return self.pos >= len(self.line)

    def take_word(self) -> str:
        """The next run of ordinary characters."""
        self.skip("")
        found = self.WORD.match(self.line, self.pos)
        if found is None:
            raise ValueError(f"word expected at column {self.pos}: {self.line}")
        self.pos = found.end()
        return found[0]

    def take_text(self) -> str:
        """A word, a quoted string, or one of them repeated: x*300."""
        self.skip("")
        if self.line[self.pos : self.pos + 1] != '"':
            word = self.take_word()
            repeat = re.fullmatch(r"(.)\*(\d+)", word)
            return repeat[1] * int(repeat[2]) if repeat else self.names.get(word, word)
        text, length = json.JSONDecoder().raw_decode(self.line[self.pos :])
        self.pos += length
        return str(text)

    def take_value(self) -> Value:
        """One table value."""
        if self.skip("{"):
            return ("F", self.take_pairs())
        if self.skip("["):
            items = []
            while not self.skip("]"):
                items.append(self.take_value())
            return ("A", items)
        quoted = self.line[self.pos : self.pos + 1] == '"'
        word = self.take_text()
        return ("S", word) if quoted else plain_value(self._with_time(word))

    def _with_time(self, word: str) -> str:
        """T:$now and T:$now-5 with the time put in, in seconds; any other word as it is."""
        found = re.fullmatch(r"T:(\$now)([+-]\d+)?", word)
        return f"T:{int(self.names[found[1]]) + int(found[2] or 0)}" if found else word

    def take_pairs(self) -> Table:
        """`key=value` pairs up to the closing brace."""
        table: Table = {}
        while not self.skip("}"):
            key = self.take_text()
            if not self.skip("="):
                raise ValueError(f"'=' expected at column {self.pos}: {self.line}")
            table[key] = self.take_value()
        return table


def plain_value(word: str) -> Value:
    """The value of an unquoted word."""
    if word in KEYWORDS:
        return KEYWORDS[word]
    if re.fullmatch(r"-?\d+", word):
        number = int(word)
        return ("I" if -(2**31) <= number < 2**31 else "l", number)
    if not TYPED.match(word):
        return ("S", word)
    letter, _, rest = word.partition(":")
    if letter in "fd":
        return (letter, float(rest))
    if letter == "x":
        return (letter, bytes.fromhex(rest))
    if letter == "D":
        scale, number_text = rest.split(":")
        return (letter, (int(scale), int(number_text)))
    return (letter, int(rest))
