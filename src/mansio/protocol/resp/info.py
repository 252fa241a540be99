"""INFO: what programs look for before they trust a server, and what there is to tell about this one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mansio import __version__
from mansio.core.channels import CHANNEL, PATTERN, SHARD
from mansio.protocol.resp.command import Command
from mansio.protocol.resp.reply import Verbatim
from mansio.protocol.resp.session_commands import REDIS_VERSION

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

Facts = dict[str, Any]


def _server(client: "RespConnection") -> Facts:
    broker = client.broker
    up_s = max(broker.now_ms - broker.began_ms, 0) // 1000
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "standalone",
        "server_name": "mansio",
        "mansio_version": __version__,
        "arch_bits": 64,
        "tcp_port": client.peer.name.rpartition(":")[2],
        "server_time_usec": broker.now_ms * 1000,
        "uptime_in_seconds": up_s,
        "uptime_in_days": up_s // 86_400,
    }


def _clients(client: "RespConnection") -> Facts:
    clients = list(client.clients)
    return {
        "connected_clients": len(clients),
        "cluster_connections": 0,
        "blocked_clients": sum(each.blocking for each in clients),
        "tracking_clients": 0,
        "pubsub_clients": sum(each.subscriptions > 0 for each in clients),
    }


def _memory(client: "RespConnection") -> Facts:
    broker = client.broker
    used = broker.memory_bytes + broker.keyspaces.held_bytes
    most = broker.limits.memory_bytes_max
    return {
        "used_memory": used,
        "used_memory_human": human(used),
        "maxmemory": most,
        "maxmemory_human": human(most),
        "maxmemory_policy": "noeviction",
    }


def _persistence(client: "RespConnection") -> Facts:
    return {
        "loading": 0,
        "async_loading": 0,
        "rdb_changes_since_last_save": 0,
        "rdb_bgsave_in_progress": 0,
        "rdb_last_save_time": client.broker.now_ms // 1000,
        "rdb_last_bgsave_status": "ok",
        "aof_enabled": 1,
        "aof_rewrite_in_progress": 0,
        "aof_last_write_status": "ok",
    }


def _stats(client: "RespConnection") -> Facts:
    channels = client.broker.channels
    return {
        "total_connections_received": client.clients.connected,
        "total_commands_processed": client.clients.commands,
        "rejected_connections": 0,
        "evicted_keys": 0,
        "pubsub_channels": len(channels.names(CHANNEL)),
        "pubsub_patterns": len(channels.names(PATTERN)),
        "pubsubshard_channels": len(channels.names(SHARD)),
    }


def _replication(client: "RespConnection") -> Facts:
    return {"role": "master", "connected_slaves": 0, "master_repl_offset": 0}


def _cluster(client: "RespConnection") -> Facts:
    return {"cluster_enabled": 0}


def _keyspace(client: "RespConnection") -> Facts:
    broker = client.broker
    found: Facts = {}
    for number, vhost in enumerate(client.databases):
        if vhost not in broker.vhosts:
            continue
        keyspace = broker.keyspaces.of(vhost)
        keys = keyspace.scan.size()
        if keys:
            found[f"db{number}"] = f"keys={keys},expires={len(keyspace.times)},avg_ttl=0"
    return found


SECTIONS: Final[dict[str, Callable[["RespConnection"], Facts]]] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "Cluster": _cluster,
    "Keyspace": _keyspace,
}
"""By title, in the order of redis-server."""
_ALL: Final = {"", "default", "all", "everything"}


def info(client: "RespConnection", args: list[bytes]) -> Any:
    """INFO [section [section ...]]"""
    wanted = {arg.decode("utf-8", "surrogateescape").lower() for arg in args[1:]} or {""}
    parts = []
    for title, facts in SECTIONS.items():
        if wanted & _ALL or title.lower() in wanted:
            lines = [f"{name}:{value}\r\n" for name, value in facts(client).items()]
            parts.append(f"# {title}\r\n" + "".join(lines))
    return Verbatim("\r\n".join(parts))


def human(size: int) -> str:
    """A size as redis-server writes it for people."""
    if size < 1024:
        return f"{size}B"
    for unit, shift in (("K", 10), ("M", 20), ("G", 30)):
        if size < 1 << (shift + 10):
            return f"{size / (1 << shift):.2f}{unit}"
    return f"{size / (1 << 40):.2f}T"


COMMANDS: Final = [Command("info", info, -1)]
