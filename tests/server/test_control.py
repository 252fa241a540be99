"""The control socket: who may speak, what is answered, and that answers wait for the log."""

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mansio.log.base import LogError, Unavailable
from mansio.log.directory import DataDirectory
from mansio.server import control as control_module
from mansio.server import control_socket
from mansio.server.control import CONNECTIONS_MAX, Control
from tests.server.stage import Stage, play


def request(command: str, **arguments: Any) -> bytes:
    return json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"


LIST = request("vhost list")


def add(name: str) -> bytes:
    return request("vhost add", name=name, description="", tags=[])


class Operator:
    """A client of the control socket."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        sock = control_socket.connect(folder, 5)
        sock.setblocking(False)
        self.sock = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def answer(self) -> Any:
        """The next answer; None at the end of the connection."""
        line = b""
        async with asyncio.timeout(10):
            while not line.endswith(b"\n"):
                got = await asyncio.get_running_loop().sock_recv(self.sock, 1)
                if not got:
                    return None
                line += got
        return json.loads(line)

    async def ask(self, data: bytes) -> Any:
        await self.send(data)
        return await self.answer()


Scene = Callable[[Stage, Control, Operator], Awaitable[None]]


def speak(folder: Path, scene: Scene) -> Stage:
    """Runs a scene with an operator at a broker whose data are in this folder."""

    async def script(stage: Stage) -> None:
        control = Control(stage.turn)
        await control.open(folder, owned=True)
        operator = Operator(stage, folder)
        await scene(stage, control, operator)
        operator.sock.close()
        control.close()

    return play(script)


def test_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        await operator.send(add("a") + LIST + b'{"command": "x"}\n' + b'{"comm')
        assert await operator.answer() == {"result": None}
        assert [row["vhost"] for row in (await operator.answer())["result"]] == ["/", "a"]
        assert await operator.answer() == {"error": "unknown command 'x'"}
        assert "result" in await operator.ask(b'and": "vhost list"}\n')

    speak(tmp_path, scene)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"\n", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[]\n", "request: must be an object"),
        (b'{"arguments": {}}\n', "request: 'command' is missing"),
        (b'{"command": 1}\n', "request: 'command' must be a text, not 1"),
        (
            b'{"command": "user delete", "arguments": 1}\n',
            "request: 'arguments' must be an object, not 1",
        ),
        (request("user delete", name="no"), "User 'no' does not exist"),
        (request("user delete"), "command 'user delete': missing a required argument: 'name'"),
    ],
)
def test_what_is_no_request_is_told(tmp_path: Path, line: bytes, text: str) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        assert await operator.ask(line) == {"error": text}
        assert "result" in await operator.ask(LIST)

    speak(tmp_path, scene)


def test_an_answer_waits_until_the_change_is_durable(tmp_path: Path) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        stage.log.gate.clear()
        await operator.send(add("a"))
        await stage.until(lambda: "a" in stage.broker.vhosts)
        watcher = Operator(stage, tmp_path)
        await watcher.send(LIST)
        for each in (operator, watcher):  # who sees a change waits for it as well
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(each.answer(), 0.02)
        stage.log.gate.set()
        assert await operator.answer() == {"result": None}
        assert len((await watcher.answer())["result"]) == 2
        watcher.sock.close()

    speak(tmp_path, scene)


def test_a_list_does_not_wait_for_what_others_publish(tmp_path: Path) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        stage.log.gate.clear()
        stage.broker.journal.started("x", new=False)
        stage.turn.end()
        assert "result" in await operator.ask(LIST)
        stage.log.gate.set()

    speak(tmp_path, scene)


def test_a_change_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        errors: list[LogError] = [Unavailable("gone")]
        stage.log.errors = errors
        stage.log.lands = False
        stage.turn._committer.lost = True  # as after another broker took the log over
        text = "the log could not be written: at a restart this may be as it was before"
        assert await operator.ask(add("a")) == {"error": text}

    speak(tmp_path, scene)


def test_a_request_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "LINE_BYTES_MAX", 1 << 20)

    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        padded = b'{"command": "vhost list"%s}\n'
        assert "result" in await operator.ask(padded % (b" " * (1 << 19)))
        await operator.send(b" " * ((1 << 20) + 1))
        assert await operator.answer() == {"error": "a request has at most 1 MiB"}
        assert await operator.answer() is None

    speak(tmp_path, scene)


def test_so_many_operators_and_no_more(tmp_path: Path) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        others = [Operator(stage, tmp_path) for _ in range(CONNECTIONS_MAX - 1)]
        for each in others:
            assert "result" in await each.ask(LIST)
        late = Operator(stage, tmp_path)
        answer = await late.answer()
        assert answer == {"error": "16 operators are connected already: try again later"}
        assert await late.answer() is None
        others.pop().sock.close()
        await stage.until(lambda: len(control._speakers) < CONNECTIONS_MAX)
        again = Operator(stage, tmp_path)
        assert "result" in await again.ask(LIST)
        for each in (*others, late, again):
            each.sock.close()

    speak(tmp_path, scene)


def test_who_asks_for_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "IDLE_S", 0.02)

    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        assert await operator.answer() is None

    speak(tmp_path, scene)


def test_who_leaves_before_the_answer_harms_nobody(tmp_path: Path) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        stage.log.gate.clear()
        await operator.send(add("a"))
        await stage.until(lambda: "a" in stage.broker.vhosts)
        operator.sock.close()
        stage.log.gate.set()
        await stage.until(lambda: not control._speakers)
        again = Operator(stage, tmp_path)
        assert len((await again.ask(LIST))["result"]) == 2
        again.sock.close()

    speak(tmp_path, scene)


def test_a_mistake_of_ours_is_told_and_the_broker_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(broker: Any) -> None:
        raise ZeroDivisionError

    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        from mansio.admin import commands

        monkeypatch.setitem(commands.COMMANDS, "broken", commands.Command(broken))
        text = "the command failed: the log of the broker says more"
        assert await operator.ask(request("broken")) == {"error": text}
        assert "result" in await operator.ask(LIST)

    speak(tmp_path, scene)


def test_the_log_names_the_command_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        line = request("user add", name="ann", tags=[], password_hash="hunter2", hashing="x")
        assert "error" in await operator.ask(line)
        line = request("user passwd", name="guest", password_hash="", hashing="")
        assert await operator.ask(line) == {"result": None}

    with caplog.at_level("DEBUG"):
        speak(tmp_path, scene)
    assert "operator: user passwd (name 'guest')" in caplog.text
    assert "hunter2" not in caplog.text


# -- the socket


def test_only_the_owner_may_open_it(tmp_path: Path) -> None:
    with control_socket.listen(tmp_path):
        mode = (tmp_path / "control.sock").stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    folder.mkdir(parents=True)
    with control_socket.listen(folder) as server:
        assert (folder / "control.sock").exists()
        with control_socket.connect(folder, 1) as client:
            client.sendall(b"x")
            server.setblocking(True)
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(1) == b"x"


def test_what_a_broker_has_left_is_replaced(tmp_path: Path) -> None:
    control_socket.listen(tmp_path).close()
    assert (tmp_path / "control.sock").exists()
    assert not control_socket.is_listening(tmp_path)
    with control_socket.listen(tmp_path):
        assert control_socket.is_listening(tmp_path)


def test_a_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("mine")
    with pytest.raises(FileExistsError, match="is not a socket"):
        control_socket.listen(tmp_path)
    assert (tmp_path / "control.sock").read_text() == "mine"


def opened(folder: Path, owned: bool, caplog: pytest.LogCaptureFixture) -> tuple[bool, str]:
    """Whether a broker listens there, and what it says."""
    found: list[bool] = []

    async def script(stage: Stage) -> None:
        control = Control(stage.turn)
        before = control_socket.is_listening(folder)
        await control.open(folder, owned)
        found.append(control_socket.is_listening(folder) and not before)
        control.close()

    with caplog.at_level("INFO"):
        play(script)
    return found[0], caplog.text


def test_it_is_gone_when_the_broker_stops(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert opened(tmp_path, True, caplog) == (True, "")
    assert list(tmp_path.iterdir()) == []


def test_a_broker_without_data_gives_way_to_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert opened(tmp_path, False, caplog) == (True, "")
    with control_socket.listen(tmp_path):
        listens, text = opened(tmp_path, False, caplog)
        assert not listens
        assert f"another one uses {tmp_path}; give this one its own --data-dir" in text
    directory = DataDirectory(tmp_path)
    directory.take()
    assert not opened(tmp_path, False, caplog)[0]
    directory.release()
    assert opened(tmp_path, False, caplog)[0]
    listens, text = opened(tmp_path / "none", False, caplog)
    assert not listens
    assert f"the folder {tmp_path / 'none'} is not there" in text


def test_a_socket_of_another_broker_is_not_taken_away(tmp_path: Path) -> None:
    async def scene(stage: Stage, control: Control, operator: Operator) -> None:
        other = control_socket.listen(tmp_path)
        control.close()
        assert control_socket.is_listening(tmp_path)
        other.close()

    speak(tmp_path, scene)
