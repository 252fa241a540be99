"""Operators' commands to a running broker, over its control socket.

    {"command": "user delete", "arguments": {"name": "ann"}}\\n  ──►  commands.run  ──►  the turn's records
    {"result": …}\\n  or  {"error": "…"}\\n                       ◄──  when what was changed is durable

One request is answered after the other. A command is applied within the loop's pass in which its line is complete.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from mansio.admin.operator import Gate, operator
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.log.directory import DataDirectory, DirectoryError
from mansio.server import control_socket
from mansio.server.logs import fields
from mansio.server.turn import Turn

logger = logging.getLogger("mansio.control")

LINE_BYTES_MAX: Final = 64 << 20
"""Of a request: a definitions file is one. Whoever sends more is told, and disconnected."""
CONNECTIONS_MAX: Final = 16
"""Operators at a time; more are told, and disconnected."""
IDLE_S: Final = 60.0
"""A connection that asks for nothing is closed then."""

_LOGGED: Final = ("name", "user", "vhost", "exchange", "operator")
"""Arguments of a command that stand in the log: none that could be a secret."""


class Control:
    """The socket and its connections."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._server: asyncio.AbstractServer | None = None
        self._path: Path | None = None
        self._identity: tuple[int, int] | None = None
        self._speakers: set[_Speaker] = set()

    @property
    def broker(self) -> Broker:
        """Whose operators these are."""
        return self._turn.broker

    async def open(self, data_directory: Path, owned: bool) -> None:
        """Listens; what goes wrong is a line in the log. `owned`: the broker has locked the directory; one that keeps
        nothing has not, and gives way to others."""
        try:
            sock = _listen(data_directory, owned)
        except (OSError, DirectoryError) as error:
            level = logging.WARNING if owned else logging.INFO
            logger.log(level, "operators' commands do not reach this broker: %s", error)
            return
        self._path = control_socket.socket_path(data_directory)
        about = self._path.stat()
        self._identity = (about.st_dev, about.st_ino)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Speaker(self), sock=sock)

    def close(self) -> None:
        """Nobody is answered any more."""
        if self._server is None or self._path is None:
            return
        self._server.close()
        for speaker in list(self._speakers):
            speaker.end()
        try:
            about = self._path.stat()
            if (about.st_dev, about.st_ino) == self._identity:  # and not that of another broker
                self._path.unlink()
        except OSError as error:
            logger.debug("cannot remove %s: %s", self._path, error)

    def admit(self, speaker: "_Speaker") -> bool:
        """Whether one more may speak."""
        if len(self._speakers) >= CONNECTIONS_MAX:
            return False
        self._speakers.add(speaker)
        return True

    def forget(self, speaker: "_Speaker") -> None:
        """It is gone."""
        self._speakers.discard(speaker)

    def run(self, line: bytes, gate: "_Answer") -> None:
        """Applies a request; `gate` has the answer then, and may have to wait before it may be told."""
        from mansio.admin import commands

        broker = self.broker
        changes = True
        try:
            name, arguments = _request(line)
            changes = name in commands.COMMANDS and commands.COMMANDS[name].changes
            gate.answer = {"result": commands.run(broker, name, arguments)}
            if changes:
                _log(name, arguments)
        except BrokerError as error:
            gate.answer = {"error": error.text}
        except Exception:  # a mistake of ours: the broker goes on
            logger.exception("an operator's command failed")
            gate.answer = {"error": "the command failed: the log of the broker says more"}
        session = operator("", gate)
        if changes:
            broker.confirms.changed(session)
        else:
            broker.confirms.observed(session)
        self._turn.schedule()


class _Answer(Gate):
    """The answer to one request, and who waits for it."""

    def __init__(self, speaker: "_Speaker") -> None:
        self.answer: dict[str, Any] = {}
        self.waits = False
        self._speaker = speaker

    def hold(self) -> None:
        self.waits = True

    def release(self, ok: bool) -> None:
        if not ok:
            text = "the log could not be written: at a restart this may be as it was before"
            self.answer = {"error": text}
        self._speaker.tell(self.answer)


class _Speaker(asyncio.Protocol):
    """One connection."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._seen = 0  # bytes of it that hold no end of a line
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        if self._control.admit(self):
            self._wait()
        else:
            self._busy = True
            self._refuse(f"{CONNECTIONS_MAX} operators are connected already: try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio; what was asked for is done all the same."""
        self._transport = None
        self._stop_waiting()
        self._control.forget(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._received += data
        if not self._busy:
            self._look()

    def _look(self) -> None:
        end = self._received.find(b"\n", self._seen)
        if end < 0:
            self._seen = len(self._received)
            if self._seen > LINE_BYTES_MAX:
                self._refuse(f"a request has at most {LINE_BYTES_MAX >> 20} MiB")
            else:
                self._wait()
            return
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._seen = 0
        self._busy = True
        self._stop_waiting()
        if self._transport is not None:
            self._transport.pause_reading()
        answer = _Answer(self)
        self._control.run(line, answer)
        if not answer.waits:
            self.tell(answer.answer)

    def tell(self, answer: Mapping[str, Any]) -> None:
        """Sends it, and goes on with the next request."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(_line(answer))
        self._busy = False
        self._transport.resume_reading()
        self._look()

    def end(self) -> None:
        """Closes the connection when everything is sent."""
        if self._transport is not None:
            self._transport.close()

    def _refuse(self, text: str) -> None:
        if self._transport is not None:
            self._busy = True
            self._received.clear()
            self._transport.write(_line({"error": text}))
            self._transport.close()

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self.end)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _listen(data_directory: Path, owned: bool) -> socket.socket:
    if not owned:
        if not data_directory.is_dir():
            raise DirectoryError(f"the folder {data_directory} is not there; see --data-dir")
        used, _ = DataDirectory(data_directory).holder()
        if used or control_socket.is_listening(data_directory):
            raise DirectoryError(
                f"another one uses {data_directory}; give this one its own --data-dir"
            )
    return control_socket.listen(data_directory)


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    """(command, arguments); BadValue."""
    from mansio.admin.definitions import read_document
    from mansio.admin.fields import Fields

    request = Fields(read_document(line), "request")
    return request.text("command"), request.object("arguments", {})


def _line(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def _log(name: str, arguments: Mapping[str, Any]) -> None:
    about = {key: arguments[key] for key in _LOGGED if arguments.get(key) is not None}
    text = ", ".join(f"{key} {value!r}" for key, value in about.items())
    logger.info("operator: %s%s", name, f" ({text})" if text else "", extra=fields(command=name))
