"""Commands on the connection itself, and the order of what a Redis client is told."""

import pytest

from tests.protocol.resp_talk import Error, World, command


def test_ping_and_echo() -> None:
    client = World().redis()
    assert client.ask("PING") == "PONG"
    assert client.ask("ping hello") == b"hello"
    assert client.ask("Echo hello") == b"hello"
    assert client.ask("PING a b") == Error("ERR wrong number of arguments for 'ping' command")


def test_a_pipeline_is_answered_in_order() -> None:
    client = World().redis()
    assert client.pipeline("ECHO a", "PING", "NOSUCH x", "ECHO b") == [
        b"a",
        "PONG",
        Error("ERR unknown command 'NOSUCH', with args beginning with: 'x' "),
        b"b",
    ]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_commands_may_come_in_pieces(size: int) -> None:
    client = World().redis()
    data = command("ECHO", "a\r\nb") + b"PING\r\n" + command("ECHO", "")
    for at in range(0, len(data), size):
        client.send_bytes(data[at : at + size])
    client.world.turn()
    assert client.hear() == [b"a\r\nb", "PONG", b""]


def test_quit_is_answered_and_ends() -> None:
    client = World().redis()
    client.send_bytes(command("QUIT") + command("PING"))
    assert client.hear() == ["OK"]
    assert client.front.closed and not client.front.close_reason
