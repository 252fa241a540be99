"""Certificates at the start, and again at SIGHUP: what is told of them, and that bad ones never replace good ones."""

import logging
import ssl
from typing import Any

from mansio.config import Config
from mansio.server import clock
from mansio.server.logs import fields
from mansio.server.peers import distinguished_name
from mansio.server.tls_context import TlsError, make_context, readable_by_others, trial
from mansio.server.tls_porter import Porter

logger = logging.getLogger("mansio.tls")


def open_porter(config: Config) -> Porter | None:
    """For the listeners, None without a port for TLS. Errors: TlsError, where there is nothing to serve with.

    A certificate that clients will refuse is an error in the log, and no reason not to start.
    """
    if not (config.tls_port or config.redis_tls_port):
        return None
    context = make_context(config)
    porter = Porter(context, config, clock)
    try:
        _tell(porter, trial(context, config))
    except TlsError as error:
        logger.error("%s; clients that check it will refuse to connect", error)
    if readable_by_others(config):
        logger.warning("tls_key: every user of this machine can read the private key; chmod 600")
    return porter


def reload(porter: Porter) -> bool:
    """Reads the files again, for connections from now on; whether they can be used. If not, all stays as it is."""
    try:
        context = make_context(porter.config)
        certificate = trial(context, porter.config)
    except TlsError as error:
        logger.error("certificates were read again and are not used, the old ones stay: %s", error)
        return False
    porter.context = context
    logger.info("certificates were read again, for new connections")
    _tell(porter, certificate)
    return True


def _tell(porter: Porter, certificate: dict[str, Any]) -> None:
    name, until = distinguished_name(certificate["subject"]), certificate["notAfter"]
    logger.info(
        "TLS: the certificate of the server is %s, valid until %s; certificates of clients: %s",
        name,
        until,
        porter.config.tls_verify,
        extra=fields(subject=name, not_after=until, tls_verify=porter.config.tls_verify),
    )
    porter.valid_until_s = ssl.cert_time_to_seconds(until)
    porter.tell_of_the_end()
