"""What a broker says at its start when other machines can reach it: what they could do, and the settings that help."""

from collections.abc import Container, Iterable
from typing import Final

from mansio.core.users import DEFAULT_HASH, DEFAULT_USER, Users
from mansio.server.peers import LOOPBACK

PLAIN: Final = (
    "%s can be reached from other machines WITHOUT TLS: whoever is on the way can read and change passwords and"
    " messages. Use --tls-port 5671 --tls-cert FILE --tls-key FILE --tls-only (`mansio tls dev-ca` makes certificates"
    " to try it), or --bind 127.0.0.1"
)
KNOWN: Final = (
    "%s can be reached from other machines, and the default user 'guest' has the password that everybody knows. %s:"
    " make a user of your own with `mansio user add NAME`, then `mansio user delete guest`"
)
BY_PROXY: Final = "He is refused from other machines, but a proxy on this one passes for local"
FROM_ANYWHERE: Final = "ANYBODY CAN LOG IN, since he is not one of loopback_users"


def warnings(
    plain: Iterable[str], tls: Iterable[str], users: Users, loopback_users: Container[str]
) -> list[str]:
    """Lines for the log. `plain`, `tls`: addresses that are listened on, without and with TLS, as `host:port`;
    `loopback_users`: who may log in from this machine only."""
    open_plain = [address for address in plain if not _local(address)]
    open_tls = [address for address in tls if not _local(address)]
    lines = [PLAIN % ", ".join(open_plain)] if open_plain else []
    default = users.find(DEFAULT_USER)
    known = default is not None and default.password_hash == DEFAULT_HASH
    if known and (open_plain or open_tls):
        how = BY_PROXY if DEFAULT_USER in loopback_users else FROM_ANYWHERE
        lines.append(KNOWN % (", ".join(open_plain + open_tls), how))
    return lines


def _local(address: str) -> bool:
    return address.lstrip("[").startswith(LOOPBACK)
