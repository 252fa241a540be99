"""Commands on the data of a stopped broker, and what stands in their way."""

import os
import socket
import threading
from pathlib import Path

import pytest

from mansio.config import Config
from mansio.log.directory import DataDirectory
from mansio.server import control_socket, operate
from mansio.server.operate import OperateError


def fault(config: Config, name: str = "vhost list") -> str:
    with pytest.raises(OperateError) as caught:
        operate.operate(config, name, {})
    return str(caught.value)


def test_what_is_refused_ends_in_order(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path))
    about = {"name": "v", "description": "", "tags": []}
    assert operate.operate(config, "vhost add", about) == (None, False)
    with pytest.raises(OperateError, match="Virtual host 'v' already exists"):
        operate.operate(config, "vhost add", about)
    rows, online = operate.operate(config, "vhost list", {})
    assert ([row["vhost"] for row in rows], online) == (["/", "v"], False)
    assert operate.operate(config, "vhost delete", {"name": "v"}) == (None, False)


def test_data_that_are_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "START_S", 0.1)
    directory = DataDirectory(tmp_path)
    directory.take()
    text = f"{tmp_path} is in use by process {os.getpid()}, which does not answer"
    assert fault(Config(data_dir=str(tmp_path))) == text
    directory.release()


def test_data_of_somebody_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    os.chown(tmp_path, 54321, -1)
    text = f"{tmp_path} is of user 54321: run this as the same user"
    assert fault(Config(data_dir=str(tmp_path)), "vhost add") == text
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_keeps_nothing_and_does_not_run(tmp_path: Path) -> None:
    text = f"no broker is running on {tmp_path}, and in_memory keeps nothing when it stops"
    assert fault(Config(data_dir=str(tmp_path), in_memory=True)) == text


def test_damaged_data(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("?")
    assert "FORMAT is damaged" in fault(Config(data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"", "the broker ended before it answered: it may have done it or not"),
        (b'{"resu', "the broker ended before it answered: it may have done it or not"),
        (b'{"error": "no"}\n', "no"),
    ],
)
def test_a_broker_that_breaks_off(tmp_path: Path, sent: bytes, text: str) -> None:
    with control_socket.listen(tmp_path) as server:
        server.setblocking(True)

        def answer() -> None:
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(65536)
                accepted.sendall(sent)
                accepted.shutdown(socket.SHUT_WR)
                accepted.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        assert fault(Config(data_dir=str(tmp_path))) == text
        thread.join(10)
