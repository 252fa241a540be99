"""Commands on the connection itself: HELLO, AUTH, SELECT, PING, ECHO, QUIT, RESET, and ACL WHOAMI."""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.errors import BrokerError
from mansio.core.rights import EVERYTHING
from mansio.core.users import ADMINISTRATOR
from mansio.protocol.resp.arguments import integer, small
from mansio.protocol.resp.command import NO_AUTH, NOW, REPEATS, SUBSCRIBED, Command, container
from mansio.protocol.resp.errors import SYNTAX, WRONG_PASS, CommandError, wrong_number
from mansio.protocol.resp.reply import NO_REPLY, OK, PONG

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

REDIS_VERSION: Final = "7.2.4"
"""What clients choose by: Sidekiq wants 7.0 or later, others look for commands of 6.2."""
HELLO_NO_AUTH: Final = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option "
    "can be used to authenticate the client and select the RESP protocol version at the same time"
)


def ping(client: "RespConnection", args: list[bytes]) -> Any:
    """PING [message]"""
    if len(args) > 2:
        raise wrong_number("ping")
    if client.subscriptions and client.proto == 2:
        return [b"pong", args[1] if len(args) == 2 else b""]
    return args[1] if len(args) == 2 else PONG


def echo(client: "RespConnection", args: list[bytes]) -> Any:
    """ECHO message"""
    return args[1]


def select(client: "RespConnection", args: list[bytes]) -> Any:
    """SELECT index"""
    number = small(args[1])
    if not 0 <= number < len(client.databases):
        raise CommandError("ERR DB index is out of range")
    if number != client.database or client.session is None:
        make_vhost(client, number)
        try:
            client.enter(client.user, number)
        except BrokerError as error:
            raise CommandError(f"NOPERM {error.text}") from None
    return OK


def make_vhost(client: "RespConnection", number: int) -> None:
    """A database that nobody has used yet is made by the first administrator who selects it, who gets all rights."""
    broker, name = client.broker, client.databases[number]
    if name in broker.vhosts:
        return
    if not is_administrator(client):
        raise CommandError(
            f"ERR database {number} is virtual host '{name}', which there is not yet: an administrator makes it by "
            f"SELECT {number} or `mansio vhost add {name}`"
        )
    broker.administration.put_vhost(name)
    broker.administration.permit(client.user, name, EVERYTHING)
    if client.session is not None:
        broker.confirms.changed(client.session)


def quit_(client: "RespConnection", args: list[bytes]) -> Any:
    """QUIT"""
    client.answer(b"+OK\r\n")
    client.finish("")
    return NO_REPLY


def reset(client: "RespConnection", args: list[bytes]) -> Any:
    """RESET"""
    client.transaction = None
    client.watched.clear()
    client.topics.drop_all()
    client.clients.stop_monitor(client)
    client.proto, client.name, client.mute = 2, b"", 0
    client.be_nobody()
    return "RESET"


def auth(client: "RespConnection", args: list[bytes]) -> Any:
    """AUTH [username] password"""
    if len(args) > 3:
        raise CommandError(SYNTAX)
    user = _text(args[1]) if len(args) == 3 else client.default_user
    client.log_in(user, _text(args[-1]), lambda accepted: OK if accepted else _WRONG)
    return NO_REPLY


def hello(client: "RespConnection", args: list[bytes]) -> Any:
    """HELLO [protover [AUTH username password] [SETNAME clientname]]: options hold up to the first that is wrong."""
    proto = client.proto
    if len(args) > 1:
        proto = integer(args[1], "ERR Protocol version is not an integer or out of range")
        if proto not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
    login: tuple[str, str] | None = None
    name: bytes | None = None
    refusal: CommandError | None = None
    at = 2
    while at < len(args) and refusal is None:
        option = args[at].upper()
        if option == b"AUTH" and at + 2 < len(args):
            login = (_text(args[at + 1]), _text(args[at + 2]))
            at += 3
        elif option == b"SETNAME" and at + 1 < len(args):
            refusal = wrong_name(args[at + 1])
            if refusal is None and login is None:
                client.name = args[at + 1]  # whatever becomes of what stands behind it
            elif refusal is None:
                name = args[at + 1]
            at += 2
        else:
            refusal = CommandError(f"ERR Syntax error in HELLO option '{_text(args[at])}'")

    def greet(accepted: bool) -> Any:
        if not accepted:
            return _WRONG
        if name is not None:
            client.name = name
        if refusal is not None:
            return refusal
        client.proto = proto
        client.looked()
        return _about(client)

    if login is not None:
        client.log_in(*login, greet)
        return NO_REPLY
    if refusal is None and not client.known:
        raise CommandError(HELLO_NO_AUTH)
    return greet(True)


def _about(client: "RespConnection") -> dict[bytes, Any]:
    return {
        b"server": b"redis",
        b"version": REDIS_VERSION.encode(),
        b"proto": client.proto,
        b"id": client.id,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


_WRONG: Final = CommandError(WRONG_PASS)


def wrong_name(name: bytes) -> CommandError | None:
    """What is wrong with the name of a connection."""
    if any(byte < 33 or byte > 126 for byte in name):
        return CommandError(
            "ERR Client names cannot contain spaces, newlines or special characters."
        )
    return None


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def who_am_i(client: "RespConnection", args: list[bytes]) -> Any:
    """ACL WHOAMI"""
    return client.user.encode("utf-8", "surrogateescape")


def is_administrator(client: "RespConnection") -> bool:
    """Whether the user of the client is an administrator."""
    user = client.broker.users.find(client.user)
    return user is not None and ADMINISTRATOR in user.tags


def check_administrator(client: "RespConnection", name: str) -> None:
    """CommandError unless the client is an administrator."""
    if not is_administrator(client):
        raise CommandError(f"NOPERM this user has no permissions to run the '{name}' command")


COMMANDS: Final = [
    Command("ping", ping, -1, SUBSCRIBED | REPEATS),
    Command("echo", echo, 2, REPEATS),
    Command("select", select, 2),
    Command("quit", quit_, -1, NO_AUTH | SUBSCRIBED | NOW),
    Command("reset", reset, 1, NO_AUTH | SUBSCRIBED | NOW),
    Command("auth", auth, -2, NO_AUTH),
    Command("hello", hello, -1, NO_AUTH),
    container("acl", [Command("acl|whoami", who_am_i, 2)]),
]
