"""The settings of a broker: what there is, what is allowed, and where a value came from.

A setting comes from, in this order: a command-line option, the environment (`MANSIO_PORT`), the
TOML file (`port = 5672`), the default. `SETTINGS` is the one table of them; a new setting is a
field of `Config` and a row there. Everything is checked at start, and every fault is one line that
names the key, its origin, the value and what is allowed.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

UNITS: Final = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": GIB << 10,
}  # fmt: skip

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")

ENV_PREFIX: Final = "MANSIO_"
ENV_OTHER: Final = frozenset({"MANSIO_PURE", "MANSIO_CONFIG"})
"""Variables of Mansio that are no settings: the pure codec, and the path of the TOML file."""


class ConfigError(Exception):
    """Settings that cannot be used; the text has one line for each fault."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one broker, valid. Units stand in the names; see `SETTINGS` for bounds."""

    bind: str = "127.0.0.1"
    port: int = 5672
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


class Setting(NamedTuple):
    """How one key is read: `parse` answers the value or raises ValueError; `allowed` says which."""

    parse: Callable[[object], Any]
    allowed: str
    help: str


def whole(low: int, high: int) -> Callable[[object], int]:
    """Read a whole number in a range, from an int or its decimal text."""

    def parse(value: object) -> int:
        number = int(value) if isinstance(value, str) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[object], float]:
    """Read a number of seconds in a range, from a number or its text."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def one_of(*words: str) -> Callable[[object], str]:
    """Read one of a few words, in any case."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError
        return value.lower()

    return parse


def text(value: object) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def names(value: object) -> frozenset[str]:
    """Read names, as a list or as text with commas; "none" and an empty list: no name."""
    if isinstance(value, str):
        value = [] if value.strip().lower() == "none" else value.split(",")
    if not isinstance(value, list | frozenset) or not all(isinstance(each, str) for each in value):
        raise ValueError
    found = frozenset(each.strip() for each in value)
    if "" in found:
        raise ValueError
    return found


def version(value: object) -> str:
    """Read a version: numbers with points, and whatever stands behind them."""
    if not isinstance(value, str) or not re.fullmatch(r"\d+\.\d+[\w.+-]*", value):
        raise ValueError
    return value


def yes_or_no(value: object) -> bool:
    """Read a switch: true or false, also as text."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError
    return words[value.lower()]


def sync_policy(value: object) -> str:
    """Read when the log is synced: "always", "never" or "interval=MS"."""
    found = re.fullmatch(r"always|never|interval=(\d{1,5})", str(value).lower())
    if not isinstance(value, str) or not found or found[1] == "0":
        raise ValueError
    return found[0]


def size(value: object) -> int:
    """Read a number of bytes: `134217728`, "128MiB" (1024s) or "128MB" (1000s)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)\s*", str(value).lower())
    if not isinstance(value, str) or not found or found[2] not in UNITS:
        raise ValueError
    return int(float(found[1]) * UNITS[found[2]])


def size_between(low: int, high: int) -> Callable[[object], int]:
    """Read a number of bytes in a range."""
    return lambda value: whole(low, high)(size(value))


def watermark(value: object) -> float | int:
    """Read a fraction of the memory (a number up to 1.0, with a point) or a number of bytes."""
    try:
        share = float(value) if isinstance(value, str | float) else None
    except ValueError:
        share = None
    if share is not None and 0.0 < share <= 1.0:
        return share
    return size_between(16 * MIB, 1 << 50)(value)


SETTINGS: Final[dict[str, Setting]] = {
    "bind": Setting(
        text, "an IP address or host name", "address to listen on; 0.0.0.0 or :: for every one"
    ),
    "port": Setting(
        whole(0, 65535), "a whole number from 0 to 65535", "TCP port; 0 takes any free one"
    ),
    "log_level": Setting(
        one_of(*LOG_LEVELS), "one of " + ", ".join(LOG_LEVELS), "least level that is logged"
    ),
    "log_format": Setting(
        one_of(*LOG_FORMATS), "one of " + ", ".join(LOG_FORMATS), "lines for people, or JSON"
    ),
    "heartbeat_s": Setting(
        whole(0, 65535), "a whole number from 0 to 65535", "heartbeat offered to clients; 0 is off"
    ),
    "frame_max": Setting(
        size_between(4096, 16 * MIB), "a size from 4096 to 16MiB", "largest frame, in bytes"
    ),
    "channel_max": Setting(
        whole(1, 65535), "a whole number from 1 to 65535", "channels of a connection"
    ),
    "connections_max": Setting(
        whole(1, 1_000_000), "a whole number from 1 to 1000000", "connections at a time"
    ),
    "connections_per_address_max": Setting(
        whole(0, 1_000_000),
        "a whole number from 0 to 1000000",
        "connections of one address; 0: any",
    ),
    "message_bytes_max": Setting(
        size_between(1, 512 * MIB), "a size from 1 to 512MiB", "largest body of a message"
    ),
    "memory_high_watermark": Setting(
        watermark,
        "a fraction such as 0.6 (up to 1.0) or a size such as 2GiB (from 16MiB)",
        "memory use at which publishers are paused",
    ),
    "data_dir": Setting(text, "a path", "folder of the log; made if it is missing"),
    "in_memory": Setting(
        yes_or_no, "true or false", "keep nothing on disk: all is gone when the broker stops"
    ),
    "sync": Setting(
        sync_policy,
        "always, never or interval=MS (1 to 99999)",
        "when the log is synced: before a confirm, every MS milliseconds, or when the system likes",
    ),
    "segment_size": Setting(
        size_between(128 * KIB, GIB), "a size from 128KiB to 1GiB", "files of the log"
    ),
    "disk_free_limit": Setting(
        size_between(0, 1 << 50), "a size", "free space on disk at which publishers are paused"
    ),
    "memory_budget": Setting(
        size_between(MIB, 1 << 50),
        "a size from 1MiB",
        "messages that are kept in memory; more are paged out to disk",
    ),
    "metrics_port": Setting(
        whole(0, 65535), "a whole number from 0 to 65535", "port of metrics over HTTP; 0 is off"
    ),
    "metrics_bind": Setting(text, "an IP address or host name", "address of metrics over HTTP"),
    "loopback_users": Setting(
        names, "names with commas, or none", "users who may log in from this machine only"
    ),
    "server_product": Setting(
        text, "a name", "product in the server properties, by which clients choose their behaviour"
    ),
    "server_version": Setting(
        version, "a version such as 3.13.7", "version in the server properties"
    ),
    "consumer_timeout_ms": Setting(
        whole(0, 10**12),
        "a whole number from 0 to 1000000000000",
        "milliseconds within which consumers have to acknowledge; 0 is off",
    ),
    "handshake_timeout_s": Setting(
        seconds(0.1, 3600), "a number from 0.1 to 3600", "time for a client to open its connection"
    ),
    "shutdown_timeout_s": Setting(
        seconds(0, 3600), "a number from 0 to 3600", "time for clients to close at shutdown"
    ),
}


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
    if faults:
        raise ConfigError("\n".join(faults))
    return Config(**values, notes=tuple(notes))


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
        if key in ("port", "metrics_port") and "://" in value:
            notes.append(f"ignoring {name}={value}: it is the address of a Kubernetes service")
        elif key in SETTINGS:
            given[key] = (value, f"environment variable {name}")
        elif not key.startswith("service_") and (likely := _likely(key)):
            notes.append(f"ignoring the environment variable {name}{likely}")
    return given


def _likely(key: str) -> str:
    """Words that suggest the key that was probably meant, or none."""
    near = difflib.get_close_matches(key.lower().replace("-", "_"), SETTINGS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
