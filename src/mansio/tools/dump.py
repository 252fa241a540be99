"""Prints a log as JSON lines: `mansio log dump`.

    {"seq": 7, "kind": "entry", "file": …, "offset": …, "bytes": …, "epoch": …, "fence": …, "records": 2}
    {"seq": 7, "kind": "publish", "places": …, "messages": [{"exchange": …, "key": …, "bytes": …, "properties": …}]}
    {"seq": 7, "kind": "settle", "queue": 3, "ranges": [[first position, count, step], …]}
    {"seq": 8, "kind": "items", "store": 4, "items": [{"tag": "s", "key": …, "bytes": …}, …]}
    {"seq": 9, "kind": "topology", "change": {"do": "declare queue", …}}
    {"seq": 12, "kind": "damage", "last": 14, "file": …, "offset": …, "bytes": …, "what": …}

A body is "body" where it is UTF-8 and "body_base64" where it is not; so are other bytes.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import CodecError
from mansio.core import records
from mansio.core.item_records import Stored
from mansio.core.records import Counted, Published, Returned, Settled
from mansio.core.run import Run
from mansio.protocol.amqp.content import Content
from mansio.tools.pieces import Gap, Moved
from mansio.tools.reading import Found, read_log
from mansio.tools.survey import TRIES_MAX, survey

Line = dict[str, Any]


def dump(path: Path, from_seq: int = 1, bodies: bool = False, out: TextIO = sys.stdout) -> int:
    """Print the log of a data directory, in use or not, from an entry on; with the bodies of messages if asked to.

    Goes on behind damage. Answers the exit code: 1 if there was any. Errors: LogError, OSError.
    """
    damaged = False
    for _ in range(TRIES_MAX):
        seen = survey(path)
        try:
            for item in read_log(seen, from_seq):
                if isinstance(item, Gap):
                    damaged = True
                    print(_json(_gap(item)), file=out)
                    from_seq = max(from_seq, item.last + 1)
                else:
                    for line in _lines(item, bodies):
                        damaged = damaged or line["kind"] == "damage"
                        print(_json(line), file=out)
                    from_seq = item.seq + 1
        except Moved:
            continue  # trimmed meanwhile: the rest begins later
        if seen.damage is not None and not damaged:
            damaged = True
            print(_json({"kind": "damage", "what": str(seen.damage)}), file=out)
        return 1 if damaged else 0
    raise Moved(f"{path} changes all the time")


def _gap(gap: Gap) -> Line:
    return {
        "seq": gap.first, "kind": "damage", "last": gap.last, "file": gap.name, "offset": gap.offset,
        "bytes": gap.size, "what": gap.what,
    }  # fmt: skip


def _lines(item: Found, bodies: bool) -> Iterator[Line]:
    entry = item.entry
    line: Line = {
        "seq": item.seq, "kind": "entry", "file": item.name, "offset": item.offset, "bytes": item.size,
        "epoch": entry.epoch, "fence": entry.fence, "records": len(entry.records),
    }  # fmt: skip
    if item.stale:
        line["stale"] = True
    yield line
    for record in entry.records:
        try:
            found = records.decode(record)
        except records.Damaged as error:
            yield {"seq": item.seq, "kind": "damage", "what": str(error)}
            continue
        if isinstance(found, Published):
            yield {"seq": item.seq, "kind": "publish"} | _publish(found, bodies)
        elif isinstance(found, Counted):
            line = {"seq": item.seq, "kind": "counted", "queue": found.queue}
            yield line | {
                "deliveries": found.deliveries, "due_ms": found.due_ms, "ranges": found.ranges
            }  # fmt: skip
        elif isinstance(found, Settled | Returned):
            kind = "settle" if isinstance(found, Settled) else "returned"
            yield {"seq": item.seq, "kind": kind, "queue": found.queue, "ranges": found.ranges}
        elif isinstance(found, Stored):
            yield {"seq": item.seq, "kind": "items"} | _items(found, bodies)
        else:
            yield {"seq": item.seq, "kind": "topology", "change": found}


def _items(found: Stored, bodies: bool) -> Line:
    items: list[Line] = []
    for name, value in found.changes:
        line: Line = {"tag": chr(name[0]), **_text("key", name[1:])}
        items.append(line | {"bytes": None if value is None else len(value)})
        if bodies and value is not None:
            items[-1] |= _text("value", value)
    return {"store": found.store, "items": items}


def _publish(found: Published, bodies: bool) -> Line:
    run = Run(found.data, found.messages, found.stride, found.ends, ())
    messages: list[Line] = []
    for i in range(found.messages):
        start, stop = run.bounds(i)
        route = found.routes[found.which[i] if found.which else 0]
        content = Content.parse(found.data[start + route.skip : stop])
        line: Line = {"exchange": route.exchange, "key": route.key, "bytes": len(content.body)}
        try:
            line["properties"] = _properties(content.properties())
        except CodecError as error:
            line["properties"] = f"malformed: {error}"
        if found.due is not None:
            line["due_ms"] = found.due[i if len(found.due) > 1 else 0]
        if bodies:
            line |= _text("body", content.body)
        messages.append(line)
    places = [{"queue": queue, "position": base} for queue, base in found.places]
    return {"places": places, "messages": messages}


def _properties(found: Properties) -> Line:
    values = {each.name: getattr(found, each.name) for each in fields(found)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """A value of a field table as JSON can say it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return _text("bytes", value)
    return str(value) if isinstance(value, Decimal) else value


def _text(name: str, data: bytes) -> Line:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode("ascii")}


def _json(line: Line) -> str:
    return json.dumps(line, separators=(",", ":"))
