"""The settings of a broker: what there is, what is allowed, and where a value came from.

A setting comes from, in this order: a command-line option, the environment (`MANSIO_PORT`), the
TOML file (`port = 5672`), the default. `SETTINGS` is the one table of them; a new setting is a
field of `Config` and a row there (`config_settings.py`). Everything is checked at start, and every
fault is one line that names the key, its origin, the value and what is allowed.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mansio.config_settings import SETTINGS
from mansio.config_values import DATABASES, MIB

ENV_PREFIX: Final = "MANSIO_"
ENV_PASSWORD: Final = "MANSIO_DEFAULT_PASSWORD"
ENV_OTHER: Final = frozenset({"MANSIO_PURE", "MANSIO_CONFIG", ENV_PASSWORD})
"""Variables of Mansio that are no settings: the pure codec, the path of the TOML file, and a secret: no error shows it,
and it is not for files that are no secret."""


PORTS: Final = ("port", "tls_port", "redis_port", "redis_tls_port", "zmq_port", "metrics_port")


class ConfigError(Exception):
    """Settings that cannot be used; the text has one line for each fault."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one broker, valid. Units stand in the names; see `SETTINGS` for bounds."""

    bind: str = "127.0.0.1"
    port: int = 5672
    redis_port: int = 6379
    """0 is off."""
    redis_bind: str = ""
    """Empty: as `bind`."""
    redis_tls_port: int = 0
    """0 is off."""
    redis_databases: tuple[str, ...] = DATABASES
    """The virtual host of each."""
    redis_user: str = "guest"
    """Who a client of this machine is without a password; empty: nobody."""
    redis_sync: str = "always"
    zmq_port: int = 5555
    """0 is off."""
    zmq_bind: str = ""
    """Empty: as `bind`."""
    zmq_user: str = "guest"
    """Who a ZeroMQ peer of this machine is without a password; empty: nobody."""
    zmq_default_queue: str = "tasks"
    zmq_mode: str = "put"
    zmq_call_timeout_ms: int = 30_000
    zmq_curve_secret_key_file: str = ""
    """Empty: no CURVE."""
    zmq_curve_users: tuple[tuple[bytes, str], ...] = ()
    """Public keys of clients, and the user that each is."""
    zmq_curve_only: bool = False
    majordomo_heartbeat_ms: int = 2_500
    majordomo_liveness: int = 3
    majordomo_expiry_ms: int = 600_000
    titanic_ttl_ms: int = 604_800_000
    tls_port: int = 0
    """0 is off."""
    tls_bind: str = ""
    """Empty: as `bind`."""
    tls_only: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    """Empty: in the file of `tls_cert`."""
    tls_key_password_file: str = ""
    tls_ca: str = ""
    tls_verify: str = "none"
    tls_min_version: str = "1.2"
    tls_user_from: str = "common_name"
    log_level: str = "info"
    log_format: str = "text"
    heartbeat_s: int = 60
    frame_max: int = 131_072
    channel_max: int = 2047
    connections_max: int = 65_536
    connections_per_address_max: int = 0
    """0 is any number."""
    message_bytes_max: int = 128 * MIB
    memory_high_watermark: float | int = 0.6
    """A float is a fraction of the machine's (or container's) memory, an int is bytes."""
    data_dir: str = "~/.local/share/mansio"
    in_memory: bool = False
    definitions: str = ""
    default_user: str = ""
    default_password_file: str = ""
    default_password: str = field(default="", repr=False)
    """Of MANSIO_DEFAULT_PASSWORD."""
    sync: str = "always"
    segment_size: int = 16 * MIB
    disk_free_limit: int = 50 * MIB
    memory_budget: int = 128 * MIB
    metrics_port: int = 0
    """0 is off."""
    metrics_bind: str = "127.0.0.1"
    loopback_users: frozenset[str] = frozenset(("guest",))
    server_product: str = "RabbitMQ"
    server_version: str = "3.13.7"
    """What clients are told with connection.start; `docs/compatibility.md` says what follows from it."""
    consumer_timeout_ms: int = 1_800_000
    """0 is off."""
    handshake_timeout_s: float = 10.0
    shutdown_timeout_s: float = 10.0
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Remarks for the log, such as an environment variable that was ignored."""
    chosen: frozenset[str] = field(default=frozenset(), compare=False)
    """Keys whose value somebody has given, even if it is the default."""


def load(
    options: Mapping[str, object], environ: Mapping[str, str], path: str | None = None
) -> Config:
    """Put the settings together and check them.

    `options` are keys given on the command line (None: not given), `environ` is the environment and
    `path` the TOML file (None: that of MANSIO_CONFIG, if set). Raises ConfigError with all faults.
    """
    faults: list[str] = []
    notes: list[str] = []
    given: dict[str, tuple[object, str]] = {}
    path = path or environ.get("MANSIO_CONFIG") or None
    if path is not None:
        given.update(_from_file(path, faults))
    given.update(_from_environment(environ, notes))
    for key, value in options.items():
        if value is not None:
            given[key] = (value, "--" + key.replace("_", "-"))
    values: dict[str, Any] = {}
    for key, (value, origin) in given.items():
        try:
            values[key] = SETTINGS[key].parse(value)
        except ValueError:
            faults.append(f"{key} = {value!r} (from {origin}): must be {SETTINGS[key].allowed}")
    values["default_password"] = environ.get(ENV_PASSWORD, "")
    faults += _secret_faults(values)
    config = Config(**values, notes=tuple(notes), chosen=frozenset(given))
    faults = faults or _contradictions(config)
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def _contradictions(config: Config) -> list[str]:
    """Settings that are fine by themselves and not together."""
    faults = []
    for key in ("tls_port", "redis_tls_port"):
        if getattr(config, key) and not config.tls_cert:
            faults.append(
                f"{key} needs a certificate: set tls_cert and tls_key; `mansio tls dev-ca` makes some"
            )
    if config.tls_verify != "none" and not config.tls_ca:
        faults.append(f"tls_verify = {config.tls_verify} needs tls_ca: which certificates to trust")
    if config.tls_only and not config.tls_port:
        faults.append("tls_only needs tls_port")
    if not config.zmq_curve_secret_key_file:
        for key in ("zmq_curve_users", "zmq_curve_only"):
            if getattr(config, key):
                faults.append(f"{key} needs zmq_curve_secret_key_file: the key of the broker")
    return faults


def _secret_faults(values: Mapping[str, Any]) -> list[str]:
    """A default user needs a password from one place, and a password needs a user."""
    user, file, password = (
        values.get(key, "") for key in ("default_user", "default_password_file", "default_password")
    )
    if file and password:
        return [f"default_password_file and {ENV_PASSWORD} are both set: one of them must go"]
    if user and not (file or password):
        return [
            f"default_user = {user!r} needs a password: default_password_file, or {ENV_PASSWORD}"
        ]
    if (file or password) and not user:
        name = "default_password_file" if file else ENV_PASSWORD
        return [f"{name} is set, but default_user is not: whose password is it?"]
    return []


def _from_file(path: str, faults: list[str]) -> dict[str, tuple[object, str]]:
    """Read the TOML file; an unknown key is a fault, with the likely meaning."""
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for key in sorted(table.keys() - SETTINGS.keys()):
        faults.append(f"unknown key {key!r} (in {path}){_likely(key)}")
    return {key: (value, path) for key, value in table.items() if key in SETTINGS}


def _from_environment(
    environ: Mapping[str, str], notes: list[str]
) -> dict[str, tuple[object, str]]:
    """Read MANSIO_*; an empty one counts as unset, and a note is made of one that looks misspelt.

    Kubernetes sets MANSIO_PORT=tcp://ADDRESS:PORT, MANSIO_SERVICE_HOST and more beside a service that is named mansio.
    """
    given: dict[str, tuple[object, str]] = {}
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX) or name in ENV_OTHER or not environ[name]:
            continue
        key, value = name.removeprefix(ENV_PREFIX).lower(), environ[name]
        if key in PORTS and "://" in value:
            notes.append(f"ignoring {name}={value}: it is the address of a Kubernetes service")
        elif key in SETTINGS:
            given[key] = (value, f"environment variable {name}")
        elif "service_" not in key and (likely := _likely(key)):
            notes.append(f"ignoring the environment variable {name}{likely}")
    return given


def _likely(key: str) -> str:
    """Words that suggest the key that was probably meant, or none."""
    near = difflib.get_close_matches(key.lower().replace("-", "_"), SETTINGS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
