"""The table of settings: how each is read, and what is allowed. What they are for a broker is `config.py`."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from mansio.config_values import (
    GIB,
    KIB,
    MIB,
    curve_users,
    databases,
    name_or_none,
    names,
    one_of,
    seconds,
    size_between,
    sync_policy,
    text,
    text_or_none,
    version,
    watermark,
    whole,
    yes_or_no,
)

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")
TLS_VERIFY: Final = ("none", "optional", "required")
TLS_VERSIONS: Final = ("1.2", "1.3")
REDIS_SYNC: Final = ("always", "everysec")
ZMQ_MODES: Final = ("put", "call")
MAJORDOMO_MS_MAX: Final = 4_294_967_295
"""49 days: what an AMQP client can say as an expiration, and a queue as x-expires."""
TLS_NAMES: Final = ("common_name", "distinguished_name", "subject_alternative_name")


class Setting(NamedTuple):
    """How one key is read: `parse` answers the value or raises ValueError; `allowed` says which."""

    parse: Callable[[object], Any]
    allowed: str
    help: str


SETTINGS: Final[dict[str, Setting]] = {
    "bind": Setting(
        text, "an IP address or host name", "address to listen on; 0.0.0.0 or :: for every one"
    ),
    "port": Setting(
        whole(0, 65535), "a whole number from 0 to 65535", "TCP port; 0 takes any free one"
    ),
    "redis_port": Setting(
        whole(0, 65535),
        "a whole number from 0 to 65535",
        "TCP port for Redis clients; 0 is off",
    ),
    "redis_bind": Setting(
        text_or_none, "an IP address or host name", "address for Redis clients, if not bind"
    ),
    "redis_tls_port": Setting(
        whole(0, 65535),
        "a whole number from 0 to 65535",
        "TCP port for Redis clients with TLS; 0 is off",
    ),
    "redis_databases": Setting(
        databases,
        "pairs NUMBER=VIRTUALHOST with commas, such as 0=/,1=orders, of numbers from 0 to 15",
        "virtual hosts that are the databases of Redis clients",
    ),
    "redis_user": Setting(
        name_or_none, "a name, or none", "who a Redis client of this machine is without AUTH"
    ),
    "redis_sync": Setting(
        one_of(*REDIS_SYNC),
        "one of " + ", ".join(REDIS_SYNC),
        "whether replies to Redis clients wait for the log",
    ),
    "zmq_port": Setting(
        whole(0, 65535),
        "a whole number from 0 to 65535",
        "TCP port for ZeroMQ sockets; 0 is off",
    ),
    "zmq_bind": Setting(
        text_or_none, "an IP address or host name", "address for ZeroMQ sockets, if not bind"
    ),
    "zmq_user": Setting(
        name_or_none, "a name, or none", "who a ZeroMQ socket of this machine is without a password"
    ),
    "zmq_default_queue": Setting(
        text, "a name", "queue of ZeroMQ sockets that name none with X-Queue"
    ),
    "zmq_mode": Setting(
        one_of(*ZMQ_MODES),
        "one of " + ", ".join(ZMQ_MODES),
        "what is the reply to a whole message of a REQ: its receipt, or the worker's answer",
    ),
    "zmq_call_timeout_ms": Setting(
        whole(1, 86_400_000),
        "a whole number from 1 to 86400000",
        "milliseconds that a call of a ZeroMQ socket waits for its answer",
    ),
    "majordomo_heartbeat_ms": Setting(
        whole(100, 600_000),
        "a whole number from 100 to 600000",
        "milliseconds between two heartbeats of Majordomo workers, and to them",
    ),
    "majordomo_liveness": Setting(
        whole(2, 1000),
        "a whole number from 2 to 1000",
        "heartbeats without a word after which a Majordomo worker is gone",
    ),
    "majordomo_expiry_ms": Setting(
        whole(1, MAJORDOMO_MS_MAX),
        f"a whole number from 1 to {MAJORDOMO_MS_MAX}",
        "milliseconds that a Majordomo client's request waits for a worker",
    ),
    "titanic_ttl_ms": Setting(
        whole(1, MAJORDOMO_MS_MAX),
        f"a whole number from 1 to {MAJORDOMO_MS_MAX}",
        "milliseconds that a request to Titanic and its reply are kept if nobody closes it",
    ),
    "zmq_curve_secret_key_file": Setting(
        text_or_none, "a path", "file with the secret key of the broker, for ZeroMQ's CURVE"
    ),
    "zmq_curve_users": Setting(
        curve_users,
        "pairs NAME=KEY with commas, or a table, of users and public keys of 40 characters",
        "ZeroMQ sockets that come in with their keys, and who they are",
    ),
    "zmq_curve_only": Setting(
        yes_or_no, "true or false", "whether all ZeroMQ sockets have to use CURVE"
    ),
    "tls_port": Setting(
        whole(0, 65535), "a whole number from 0 to 65535", "TCP port for TLS; 0 is off"
    ),
    "tls_bind": Setting(text_or_none, "an IP address or host name", "address for TLS, if not bind"),
    "tls_only": Setting(yes_or_no, "true or false", "accept no connections without TLS"),
    "tls_cert": Setting(text_or_none, "a path", "certificate of the server, PEM, with its chain"),
    "tls_key": Setting(text_or_none, "a path", "its private key, PEM, if not in the same file"),
    "tls_key_password_file": Setting(text_or_none, "a path", "file with the password of the key"),
    "tls_ca": Setting(text_or_none, "a path", "certificates that sign those of clients, PEM"),
    "tls_verify": Setting(
        one_of(*TLS_VERIFY), "one of " + ", ".join(TLS_VERIFY), "certificates of clients"
    ),
    "tls_min_version": Setting(one_of(*TLS_VERSIONS), "1.2 or 1.3", "least version of TLS"),
    "tls_user_from": Setting(
        one_of(*TLS_NAMES),
        "one of " + ", ".join(TLS_NAMES),
        "what of a client's certificate is the user's name, for the mechanism EXTERNAL",
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
    "definitions": Setting(text_or_none, "a path", "definitions file that is imported at start"),
    "default_user": Setting(
        text_or_none, "a name", "administrator in the place of guest, where there are no users yet"
    ),
    "default_password_file": Setting(
        text_or_none,
        "a path",
        "file with the password of default_user; else MANSIO_DEFAULT_PASSWORD has it",
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
