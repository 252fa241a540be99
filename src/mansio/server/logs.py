"""Log lines: one for people each, or one JSON object each; both on standard error.

    2026-11-21 08:00:00.123 INFO  listening on 127.0.0.1:5672            (text; local time)
    {"time": "2026-11-21T08:00:00.123Z", "level": "info", "logger": "mansio.server", "message": …}

What a peer sent may stand in a message: control characters are escaped, so that one record stays
one line. `fields(port=5672)` adds keys to the JSON form.
"""

import json
import logging
import sys
import time
from typing import Any, Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

SHORT_NAMES: Final = {"WARNING": "WARN ", "CRITICAL": "FATAL"}

_ESCAPES: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if code != 9
} | {10: "\\n", 13: "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Keys for the JSON form of a record: `logger.info("…", extra=fields(port=5672))`."""
    return {"fields": values}


class TextFormatter(logging.Formatter):
    """One line for people; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = SHORT_NAMES.get(record.levelname, record.levelname)
        message = record.getMessage().translate(_ESCAPES)
        line = f"{clock}.{int(record.msecs):03d} {level:5} {message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object on one line, with the traceback as the key `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=repr)


class SafeHandler(logging.StreamHandler[Any]):
    """Writes to standard error; a broken pipe or full disk behind it must not stop the broker."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record: there is nowhere to say it."""


def configure(level: str, form: str) -> None:
    """Send all records from `level` on (a key of LEVELS) to standard error as "text" or "json"."""
    handler = SafeHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    # The loop's own records ("Using selector: …") help nobody below a warning.
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class Budget:
    """At most so many lines a second of one kind: a crowd of bad clients must not fill the disk or the loop."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._spent = 0
        self.suppressed = 0  # lines since the last one that was allowed

    def allows(self, now_ns: int) -> bool:
        """Whether one more line may be written now; counts it, or counts it as suppressed."""
        second = now_ns // 1_000_000_000
        if second != self._second:
            self._second = second
            self._spent = 0
        if self._spent >= self._per_second:
            self.suppressed += 1
            return False
        self._spent += 1
        return True

    def take_suppressed(self) -> int:
        """How many lines were suppressed since the last call."""
        suppressed, self.suppressed = self.suppressed, 0
        return suppressed
