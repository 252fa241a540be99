"""Which role a peer leads to, by the type of its socket (RFC 28 to 31 say who may talk to whom)."""

from typing import Final

from mansio.protocol.zmtp.answering import Answering
from mansio.protocol.zmtp.asking import Asking
from mansio.protocol.zmtp.feeding import Feeding
from mansio.protocol.zmtp.giving import Giving
from mansio.protocol.zmtp.hearing import Hearing
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.taking import Taking

ROLES: Final[dict[str, type[Role]]] = {
    "REQ": Answering,
    "DEALER": Answering,
    "PUSH": Taking,
    "PULL": Giving,
    "SUB": Feeding,
    "XSUB": Feeding,
    "PUB": Hearing,
    "XPUB": Hearing,
    "REP": Asking,
    "ROUTER": Asking,
}
