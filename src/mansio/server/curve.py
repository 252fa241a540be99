"""The keys of ZeroMQ's CURVE at the start: read from a file, and what is told of them."""

import logging
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING

from mansio.config import Config
from mansio.config_values import curve_key, curve_text
from mansio.server.logs import fields

if TYPE_CHECKING:
    from mansio.protocol.zmtp.curve import Curve

logger = logging.getLogger("mansio.curve")


class CurveError(Exception):
    """A key that cannot be used; the text is one line that names the setting."""


def open_curve(config: Config) -> "Curve | None":
    """What ZeroMQ sockets with keys are met by, None where there is no key of the broker. Errors: CurveError.

    The file has the key in 40 characters of Z85, or a line `secret-key = "KEY"` as those of pyzmq's
    `zmq.auth.create_certificates`.
    """
    path = config.zmq_curve_secret_key_file
    if not path:
        return None
    try:
        from mansio.protocol.zmtp.curve import Curve
    except ImportError as error:
        raise CurveError(
            "zmq_curve_secret_key_file needs PyNaCl: pip install 'mansio[curve]'"
        ) from error
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CurveError(f"zmq_curve_secret_key_file: cannot read {path}: {reason}") from error
    found = re.search(r'^\s*secret-key\s*=\s*"([^"]*)"', text, re.MULTILINE)
    try:
        secret = curve_key(found[1] if found else text.strip())
    except ValueError:
        raise CurveError(
            f"zmq_curve_secret_key_file: {path} has no key of 40 characters, such as"
            " zmq.curve_keypair() makes"
        ) from None
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        logger.warning("%s: other users of this machine can read the secret key; chmod 600", path)
    return Curve(secret, dict(config.zmq_curve_users), secrets.token_bytes)


def tell(curve: "Curve", config: Config) -> None:
    """What clients need to know."""
    key = curve_text(curve.public_key)
    logger.info(
        "ZeroMQ sockets may use CURVE: the public key of this broker is %s, and %d keys of clients are known",
        key,
        len(config.zmq_curve_users),
        extra=fields(public_key=key),
    )
