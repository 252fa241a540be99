"""Doing an operator's command: over the control socket of a running broker, else on the data of a stopped one.

control.sock answers ──► asked there
nobody listens, the directory is locked ──► a broker starts or stops: asked again, for a while
nobody listens, nor uses the directory ──► log read ──► command ──► log written and closed
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from mansio.admin import commands
from mansio.config import Config
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.log.base import Log, LogError
from mansio.log.directory import DataDirectory, LockedError
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.server import clock, control_socket, storage
from mansio.server.authenticator import LoginAuthenticator
from mansio.server.lifecycle import limits, means
from mansio.server.tasks import Tasks
from mansio.server.turn import Turn

ANSWER_S: Final = 600.0
"""For a broker to answer: the import of a large file on a slow disk."""
START_S: Final = 30.0
"""For a broker that starts or stops to listen, or to let go of its data."""
POLL_S: Final = 0.05
CHUNK_BYTES: Final = 1 << 20


class OperateError(Exception):
    """The command was not done; the text is one line for people."""


class Done(NamedTuple):
    """What a command answered, and whether a running broker did it."""

    result: Any
    online: bool


def operate(config: Config, name: str, arguments: Mapping[str, Any]) -> Done:
    """Does the command; OperateError."""
    path = storage.data_directory(config)
    deadline = time.monotonic() + START_S
    while True:
        try:
            sock = control_socket.connect(path, ANSWER_S)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            pass
        except PermissionError:
            text = f"you may not talk to the broker on {path}: run this as the user who runs it"
            raise OperateError(text) from None
        except OSError as error:
            raise OperateError(f"cannot talk to the broker on {path}: {error}") from error
        else:
            with sock:
                return Done(_ask(sock, name, arguments), online=True)
        if config.in_memory:
            text = f"no broker is running on {path}, and in_memory keeps nothing when it stops"
            raise OperateError(text)
        try:
            return Done(_do_offline(config, path, name, arguments), online=False)
        except LockedError as error:
            if time.monotonic() > deadline:
                raise OperateError(f"{error}, which does not answer") from error
            time.sleep(POLL_S)
        except (storage.StorageError, LogError) as error:
            raise OperateError(str(error)) from error


def _ask(sock: socket.socket, name: str, arguments: Mapping[str, Any]) -> Any:
    request = {"command": name, "arguments": arguments}
    received = bytearray()
    try:
        sock.sendall(json.dumps(request).encode() + b"\n")
        while not received.endswith(b"\n"):
            chunk = sock.recv(CHUNK_BYTES)
            if not chunk:
                raise OperateError(
                    "the broker ended before it answered: it may have done it or not"
                )
            received += chunk
    except OSError as error:
        if not received.endswith(b"\n"):
            raise OperateError(f"the broker does not answer: {error}") from error
    answer = json.loads(received)
    if "error" in answer:
        raise OperateError(answer["error"])
    return answer["result"]


def _do_offline(config: Config, path: Path, name: str, arguments: Mapping[str, Any]) -> Any:
    """The same on the data of a broker that is not running. LockedError, StorageError, LogError, OperateError."""
    command = commands.COMMANDS[name]
    used, pid = DataDirectory(path).holder()
    if used:
        raise LockedError(path, pid)
    if command.running:
        raise OperateError(f"no broker is running on {path}")
    if (
        path.exists() and path.stat().st_uid != os.geteuid()
    ):  # the broker could not write what is made
        raise OperateError(f"{path} is of user {_owner(path)}: run this as the same user")
    if not command.changes and not (path / "FORMAT").exists():
        raise OperateError(f"no broker is running on {path}, and there is no data of one")
    return asyncio.run(_restored(config, name, arguments))


async def _restored(config: Config, name: str, arguments: Mapping[str, Any]) -> Any:
    log = await storage.open_log(config)
    try:
        broker = Broker(limits(config), AmqpLetters(config.frame_max), means())
        broker.now_ms = int(clock.wall_s() * 1000)
        new = await storage.restore(broker, log, config)
        if not commands.COMMANDS[name].changes:
            return commands.run(broker, name, arguments)
        return await _written(config, broker, log, new, name, arguments)
    except BrokerError as error:
        raise OperateError(error.text) from None
    finally:
        await log.close()


async def _written(
    config: Config, broker: Broker, log: Log, new: bool, name: str, arguments: Mapping[str, Any]
) -> Any:
    """What a command answers whose changes are durable."""
    tasks = Tasks()
    authenticator = LoginAuthenticator(broker, clock, tasks, frozenset())
    turn = Turn(broker, log, clock, tasks, authenticator, storage.make_spool(config))
    try:
        await turn.open(new)
        try:
            if name == "definitions import":
                arguments = {**arguments, "fresh": True}
            return commands.run(broker, name, arguments)
        finally:  # an orderly stop also of a broker that has refused
            if not await turn.stop(ANSWER_S):
                raise OperateError("the log did not take it: is the disk full?")
    finally:
        await tasks.cancel_all()
        await turn.close()
        authenticator.close()


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # nobody has this number
        return str(path.stat().st_uid)
