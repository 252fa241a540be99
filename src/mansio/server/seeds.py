"""What a broker has from its settings when it starts: a first user in the place of guest, and a definitions file.

Applied before anybody can connect, in the log entry that says that the broker has started.
"""

import logging
from pathlib import Path

from mansio.admin.definitions import Imported, import_definitions, read_document
from mansio.admin.passwords import hash_password
from mansio.admin.secret_file import read_secret
from mansio.config import Config
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.core.rights import EVERYTHING
from mansio.core.users import ADMINISTRATOR, DEFAULT_USER, DEFAULT_VHOST
from mansio.server.storage import StorageError

logger = logging.getLogger("mansio")


def sow(broker: Broker, config: Config) -> None:
    """Applies both. StorageError, without secrets; then the broker must not be used."""
    implied = broker.users.implied
    if config.default_user and implied:
        _add_first_user(broker, config)
    if config.definitions:
        _import(broker, config.definitions, implied)


def _add_first_user(broker: Broker, config: Config) -> None:
    name, password = config.default_user, config.default_password
    try:
        if config.default_password_file:
            password = read_secret(config.default_password_file)
        known, hashing = hash_password(password)
        broker.administration.put_user(name, known, hashing, [ADMINISTRATOR])
    except OSError as error:
        path = config.default_password_file
        raise StorageError(f"cannot read default_password_file {path}: {error.strerror}") from None
    except BrokerError as error:
        raise StorageError(f"default_user: {error.text}") from None
    broker.administration.permit(name, DEFAULT_VHOST, EVERYTHING)
    if name != DEFAULT_USER:
        broker.administration.delete_user(DEFAULT_USER)
    logger.info("there were no users: added the administrator '%s'", name)


def _import(broker: Broker, file: str, fresh: bool) -> None:
    path = Path(file).expanduser()
    try:
        done = import_definitions(broker, read_document(path.read_bytes()), fresh)
    except OSError as error:
        raise StorageError(f"cannot read the definitions {path}: {error.strerror}") from None
    except BrokerError as error:
        raise StorageError(f"cannot import the definitions {path}: {error.text}") from None
    _tell(done, path)


def _tell(done: Imported, path: Path) -> None:
    changed = ", ".join(f"{count} {what}" for what, (_, count) in done.counts.items() if count)
    logger.info("definitions of %s are imported: %s", path, changed or "nothing has changed")
    for what in done.dropped:
        logger.info("deleted %s, which the definitions do not name and nobody has used", what)
    for what in done.skipped:
        logger.warning("skipped of the definitions, since it means nothing here: %s", what)
