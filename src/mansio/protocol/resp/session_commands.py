"""Commands on the connection itself: HELLO, AUTH, SELECT, PING, ECHO, QUIT, RESET."""

from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.command import NO_AUTH, SUBSCRIBED, Command
from mansio.protocol.resp.errors import CommandError, wrong_number
from mansio.protocol.resp.reply import OK

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection


def ping(client: "RespConnection", args: list[bytes]) -> Any:
    """PING [message]"""
    if len(args) > 2:
        raise wrong_number("ping")
    return args[1] if len(args) == 2 else "PONG"


def echo(client: "RespConnection", args: list[bytes]) -> Any:
    """ECHO message"""
    return args[1]


def select(client: "RespConnection", args: list[bytes]) -> Any:
    """SELECT index"""
    number = integer(args[1], "ERR invalid DB index")
    if not 0 <= number < 16:
        raise CommandError("ERR DB index is out of range")
    client.select(number)
    return OK


def quit_(client: "RespConnection", args: list[bytes]) -> Any:
    """QUIT"""
    client.send_raw(b"+OK\r\n")
    client.end("")
    return None


COMMANDS: Final = [
    Command("ping", ping, -1, SUBSCRIBED),
    Command("echo", echo, 2),
    Command("select", select, 2),
    Command("quit", quit_, -1, NO_AUTH | SUBSCRIBED),
]
