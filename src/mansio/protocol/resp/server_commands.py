"""Commands about the server: TIME, ROLE, MONITOR, and those about saving and watching that have little to do here:
everything is in the log anyway, and nothing is measured that redis-server measures."""

from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.command import ADMIN, NO_MULTI, Command, container
from mansio.protocol.resp.errors import SYNTAX, CommandError
from mansio.protocol.resp.reply import OK
from mansio.protocol.resp.session_commands import check_administrator

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection


def time(client: "RespConnection", args: list[bytes]) -> Any:
    """TIME"""
    s, ms = divmod(client.broker.now_ms, 1000)
    return [b"%d" % s, b"%d" % (ms * 1000)]


def role(client: "RespConnection", args: list[bytes]) -> Any:
    """ROLE"""
    return [b"master", 0, []]


def monitor(client: "RespConnection", args: list[bytes]) -> Any:
    """MONITOR"""
    check_administrator(client, "monitor")
    client.clients.monitor(client)
    return OK


def last_save(client: "RespConnection", args: list[bytes]) -> Any:
    """LASTSAVE: all is in the log at any time, so it is now"""
    return client.broker.now_ms // 1000


def save(client: "RespConnection", args: list[bytes]) -> Any:
    """SAVE"""
    return OK


def background_save(client: "RespConnection", args: list[bytes]) -> Any:
    """BGSAVE [SCHEDULE]"""
    if len(args) > 1 and (len(args) > 2 or args[1].upper() != b"SCHEDULE"):
        raise CommandError(SYNTAX)
    return "Background saving started"


def background_rewrite(client: "RespConnection", args: list[bytes]) -> Any:
    """BGREWRITEAOF"""
    return "Background append only file rewriting started"


def wait(client: "RespConnection", args: list[bytes]) -> Any:
    """WAIT numreplicas timeout: there are none"""
    integer(args[1])
    if integer(args[2], "ERR timeout is not an integer or out of range") < 0:
        raise CommandError("ERR timeout is negative")
    return 0


def nothing(client: "RespConnection", args: list[bytes]) -> Any:
    """SLOWLOG GET [count], LATENCY LATEST, LATENCY HISTORY event, MODULE LIST"""
    if args[0].upper() == b"SLOWLOG" and len(args) > 2:
        error = "ERR count should be greater than or equal to -1"
        if integer(args[2], error) < -1:
            raise CommandError(error)
    return []


def zero(client: "RespConnection", args: list[bytes]) -> Any:
    """SLOWLOG LEN, LATENCY RESET [event ...]"""
    return 0


def fine(client: "RespConnection", args: list[bytes]) -> Any:
    """SLOWLOG RESET, MEMORY PURGE"""
    return OK


def no_cluster(client: "RespConnection", args: list[bytes]) -> Any:
    """CLUSTER INFO and the like"""
    raise CommandError("ERR This instance has cluster support disabled")


COMMANDS: Final = [
    Command("time", time, 1),
    Command("role", role, 1, ADMIN),
    Command("monitor", monitor, 1, ADMIN | NO_MULTI),
    Command("lastsave", last_save, 1),
    Command("save", save, 1, ADMIN | NO_MULTI),
    Command("bgsave", background_save, -1, ADMIN),
    Command("bgrewriteaof", background_rewrite, 1, ADMIN),
    Command("wait", wait, 3),
    Command("cluster", no_cluster, -2),
    Command("readonly", no_cluster, 1),
    Command("readwrite", no_cluster, 1),
    container(
        "slowlog",
        [
            Command("slowlog|get", nothing, -2, ADMIN),
            Command("slowlog|len", zero, 2, ADMIN),
            Command("slowlog|reset", fine, 2, ADMIN),
        ],
    ),
    container(
        "latency",
        [
            Command("latency|latest", nothing, 2, ADMIN),
            Command("latency|history", nothing, 3, ADMIN),
            Command("latency|reset", zero, -2, ADMIN),
        ],
    ),
    container("memory", [Command("memory|purge", fine, 2)]),
    container("module", [Command("module|list", nothing, 2, ADMIN)]),
]
