"""What a broker says at its start when other machines can reach it: what they could do, and the settings that help."""

from collections.abc import Container, Iterable
from typing import Final

from mansio.core.users import DEFAULT_HASH, DEFAULT_USER, Users
from mansio.server.peers import LOOPBACK

PLAIN: Final = (
    "%s can be reached from other machines WITHOUT TLS: whoever is on the way can read and change passwords and"
    " messages. Use %s --tls-cert FILE --tls-key FILE --tls-only (`mansio tls dev-ca` makes certificates"
    " to try it), or %s"
)
KNOWN: Final = (
    "%s can be reached from other machines, and the default user 'guest' has the password that everybody knows. %s:"
    " make a user of your own with `mansio user add NAME`, then `mansio user delete guest`"
)
BY_PROXY: Final = "He is refused from other machines, but a proxy on this one passes for local"
UNASKED: Final = (
    "%s can be reached from other machines. %s of this machine need no password to be the user '%s', and what a proxy"
    ' on this one brings passes for local: %s_user = "none" asks everybody for %s'
)
CLEAR: Final = (
    "%s can be reached from other machines WITHOUT ENCRYPTION: ZeroMQ sockets log in with PLAIN, and whoever is on the"
    " way can read and change passwords and messages. Use zmq_curve_only with zmq_curve_secret_key_file, or"
    ' zmq_bind = "127.0.0.1"'
)
FROM_ANYWHERE: Final = "ANYBODY CAN LOG IN, since he is not one of loopback_users"


def warnings(
    plain: Iterable[str],
    tls: Iterable[str],
    users: Users,
    loopback_users: Container[str],
    redis: Iterable[str] = (),
    redis_user: str = "",
    zmq: Iterable[str] = (),
    zmq_user: str = "",
) -> list[str]:
    """Lines for the log. `plain`, `tls`: addresses that are listened on, without and with TLS, as `host:port`;
    `loopback_users`: who may log in from this machine only; `redis`, `zmq`: which of all addresses are for Redis
    clients and ZeroMQ sockets, who are `redis_user` and `zmq_user` without a password if they are of this machine."""
    open_plain = [address for address in plain if not _local(address)]
    open_tls = [address for address in tls if not _local(address)]
    open_redis = [address for address in redis if not _local(address)]
    open_zmq = [address for address in zmq if not _local(address)]
    lines = []
    amqp = [address for address in open_plain if address not in open_redis + open_zmq]
    if amqp:
        lines.append(PLAIN % (", ".join(amqp), "--tls-port 5671", "--bind 127.0.0.1"))
    clear = [address for address in open_plain if address in open_redis]
    if clear:
        where = ", ".join(clear)
        lines.append(PLAIN % (where, "--redis-tls-port 6380", 'redis_bind = "127.0.0.1"'))
    if open_redis and users.find(redis_user) is not None:
        who = (", ".join(open_redis), "Redis clients", redis_user, "redis", "AUTH")
        lines.append(UNASKED % who)
    if open_zmq:
        lines.append(CLEAR % ", ".join(open_zmq))
    if open_zmq and users.find(zmq_user) is not None:
        lines.append(UNASKED % (", ".join(open_zmq), "ZeroMQ sockets", zmq_user, "zmq", "PLAIN"))
    default = users.find(DEFAULT_USER)
    known = default is not None and default.password_hash == DEFAULT_HASH
    if known and (open_plain or open_tls):
        how = BY_PROXY if DEFAULT_USER in loopback_users else FROM_ANYWHERE
        lines.append(KNOWN % (", ".join(open_plain + open_tls), how))
    return lines


def _local(address: str) -> bool:
    return address.lstrip("[").startswith(LOOPBACK)
