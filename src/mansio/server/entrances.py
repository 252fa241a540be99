"""Where clients of each protocol come in: one row for a front, and what a port that is taken means.

chosen by the user, or the main front's ──► ListenError: the broker does not start
the default of any other front          ──► None, and one line that says so: the broker starts without it
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from mansio.config import Config
from mansio.server import tls
from mansio.server.acceptor import Factory
from mansio.server.curve import open_curve
from mansio.server.listeners import Gate, ListenError, Listeners
from mansio.server.logs import fields
from mansio.server.tasks import Tasks
from mansio.server.tls_porter import Porter

if TYPE_CHECKING:
    from mansio.protocol.zmtp.curve import Curve

logger = logging.getLogger("mansio.listeners")


class Entrance(NamedTuple):
    """One front: keys of its settings, and who else is to be found on its default port."""

    protocol: str
    port: str
    bind: str
    tls_port: str = ""
    """Empty: this front has none."""
    resident: str = ""
    """Empty: this is the main front, without which the broker does not start."""


ENTRANCES: Final = (
    Entrance("AMQP", "port", "bind", "tls_port"),
    Entrance("Redis", "redis_port", "redis_bind", "redis_tls_port", "a Redis server"),
    Entrance("ZeroMQ", "zmq_port", "zmq_bind", resident="another program"),
)


class Entrances:
    """The listeners of all fronts that are open, by protocol. One porter lets all those with TLS in;
    `curve` has the keys of ZeroMQ sockets."""

    def __init__(self, porter: Porter | None = None, curve: "Curve | None" = None) -> None:
        self.porter = porter
        self.curve = curve
        self.listeners: dict[str, Listeners] = {}

    @property
    def strangers(self) -> int:
        """Connections that were accepted and have not shaken hands."""
        return 0 if self.porter is None else self.porter.strangers

    def addresses(self, protocol: str = "") -> list[str]:
        """`host:port` of each socket without TLS, of one front or of all."""
        return [each for listeners in self._of(protocol) for each in listeners.addresses]

    def tls_addresses(self, protocol: str = "") -> list[str]:
        """The same of those with TLS."""
        return [each for listeners in self._of(protocol) for each in listeners.tls_addresses]

    def _of(self, protocol: str) -> Iterable[Listeners]:
        if not protocol:
            return self.listeners.values()
        return [self.listeners[protocol]] if protocol in self.listeners else []

    def open(self, config: Config) -> None:
        """Binds every port that the settings ask for; accepts nothing yet. Raises ListenError, and then nothing is
        open any more."""
        try:
            for entrance in ENTRANCES:
                listeners = _open(entrance, config, self.porter)
                if listeners is not None:
                    self.listeners[entrance.protocol] = listeners
        except ListenError:
            self.close()
            raise

    def serve(
        self,
        factories: Mapping[str, Factory],
        count: Callable[[], int],
        connections_max: int,
        tasks: Tasks,
    ) -> None:
        """Accepts from now on. `factories`: what gives the protocol of each connection, by front; `count`: how many
        connections there are, of all fronts together."""
        for protocol, listeners in self.listeners.items():
            listeners.serve(Gate(factories[protocol], count, connections_max), tasks)

    def close(self) -> None:
        """Stops accepting; connections that exist go on, those that shake hands do not."""
        for listeners in self.listeners.values():
            listeners.close()
        self.listeners.clear()


def open_entrances(config: Config) -> Entrances:
    """With TLS and without, as the settings say. Errors: ListenError, TlsError, CurveError."""
    entrances = Entrances(tls.open_porter(config), open_curve(config))
    entrances.open(config)
    return entrances


def _open(entrance: Entrance, config: Config, porter: Porter | None) -> Listeners | None:
    """The listeners of one front; None where it is off, or gives way to who is there already."""
    main = not entrance.resident
    port: int = getattr(config, entrance.port)
    tls_port: int = getattr(config, entrance.tls_port) if entrance.tls_port else 0
    host: str = getattr(config, entrance.bind) or config.bind
    place = entrance.bind if not main and getattr(config, entrance.bind) else "--bind"
    listeners = Listeners(porter)
    if (main or port) and not config.tls_only:
        try:
            listeners.open(host, port, settings=("--" + _option(entrance.port), place))
        except ListenError as error:
            if main or not error.taken or entrance.port in config.chosen:
                raise
            _tell_of_the_resident(entrance, host, port)
    if tls_port:
        settings = ("--" + _option(entrance.tls_port), "tls_bind")
        listeners.open(config.tls_bind or host, tls_port, tls=True, settings=settings)
    return listeners if listeners.addresses or listeners.tls_addresses else None


def _option(key: str) -> str:
    return key.replace("_", "-")


def _tell_of_the_resident(entrance: Entrance, host: str, port: int) -> None:
    logger.warning(
        "port %d on %s is in use, by %s probably: there is no port for %s clients; choose another one with --%s, or"
        " 0 for none",
        port,
        host,
        entrance.resident,
        entrance.protocol,
        _option(entrance.port),
        extra=fields(port=port, protocol=entrance.protocol),
    )
