"""Which role a peer leads to, by the type of its socket."""

from importlib import import_module
from typing import Any, Final

from mansio.protocol.zmtp.role import Role

_ROLES: Final = {
    "REQ": ("answering", "Answering"),
    "DEALER": ("answering", "Answering"),
    "PUSH": ("taking", "Taking"),
    "PULL": ("giving", "Giving"),
    "SUB": ("feeding", "Feeding"),
    "XSUB": ("feeding", "Feeding"),
    "PUB": ("hearing", "Hearing"),
    "XPUB": ("hearing", "Hearing"),
    "REP": ("asking", "Asking"),
    "ROUTER": ("asking", "Asking"),
}

OURS: Final = {
    "REQ": "ROUTER",
    "DEALER": "ROUTER",
    "PUSH": "PULL",
    "PULL": "PUSH",
    "SUB": "XPUB",
    "XSUB": "XPUB",
    "PUB": "XSUB",
    "XPUB": "XSUB",
    "REP": "DEALER",
    "ROUTER": "DEALER",
}
"""What our socket is to that of a peer (RFC 28 to 31 say who may talk to whom)."""


def role_for(socket_type: str) -> type[Role] | None:
    """None: nothing here talks to such sockets."""
    found = _ROLES.get(socket_type)
    if found is None:
        return None
    try:
        module: Any = import_module(f"mansio.protocol.zmtp.{found[0]}")
    except ModuleNotFoundError:
        return _unready(OURS[socket_type])
    role: type[Role] = getattr(module, found[1])
    return role


def _unready(ours: str) -> type[Role]:
    class Unready(Role):
        socket_type = ours

        def receive(self, messages: list[list[bytes]]) -> int:
            if ours != "ROUTER":
                self.connection.finish("there is nothing yet that such sockets can do")
                return 0
            for message in messages:
                empty = message.index(b"") + 1 if b"" in message else 0
                self.connection.send([*message[:empty], b"501", b"not there yet"])
            return len(messages)

    return Unready
