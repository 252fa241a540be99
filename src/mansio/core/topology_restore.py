"""The part of a restore that rebuilds exchanges, queues and bindings, change by change or from a snapshot."""

from typing import TYPE_CHECKING, Any

from mansio.core.access_records import RESTORE, restore_users
from mansio.core.deduplication import REMEMBER, restore_ids
from mansio.core.delays import Delays
from mansio.core.group import SOURCE, Group
from mansio.core.history import RECENT_HISTORY, History
from mansio.core.key_moves import rename
from mansio.core.policies import DELETE_POLICY, PUT_POLICY
from mansio.core.queue import Queue
from mansio.core.records import SNAPSHOT, Damaged, unpack_table
from mansio.core.routing import Exchange
from mansio.core.stream import Stream
from mansio.core.stream_marks import MARK, set_marks
from mansio.core.topology_records import PREDECLARED
from mansio.core.vacancy import Vacancy

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.topology import VHost


class TopologyRestore:
    """Changes of the topology, applied in the order of the log."""

    def __init__(self, broker: "Broker") -> None:
        self.unlimited: set[int] = set()
        """Ids of queues that may hold any number of bytes."""
        self._broker = broker
        self._complete = False  # what came before is known, or there was nothing
        for host in broker.vhosts.values():
            host.restoring = True

    def begin(self) -> None:
        """The log begins here: nothing was cut off in front."""
        self._complete = True

    def change(self, change: dict[str, Any]) -> list[int]:
        """One change; answers the ids of what is gone with messages. Damaged when it does not fit."""
        try:
            if change["do"] == SNAPSHOT:
                self._snapshot(change)
                return []
            return self._change(change) if self._complete else []
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(
                f"record {change.get('do')!r} lacks {error}, or it is not there"
            ) from error

    def finish(self) -> list[Queue]:
        """The queues that there are now, those that no client can name first."""
        hosts = self._broker.vhosts.values()
        for host in hosts:
            host.restoring = False
        histories: list[Queue] = [queue for host in hosts for queue in host.histories()]
        return histories + [queue for host in hosts for queue in host.queues.values()]

    def _change(self, change: dict[str, Any]) -> list[int]:
        do = change["do"]
        if do in RESTORE:
            RESTORE[do](self._broker, change)
            return []
        if do == "put vhost":
            self._put_vhost(change["vhost"], change)
            return []
        host = self._broker.vhosts[change["vhost"]]
        if do == "delete vhost":
            return self._delete_vhost(host)
        if do == "declare exchange":
            self._declare_exchange(host, change)
        elif do == "delete exchange":
            gone = host.delete_exchange(change["name"], False)  # None: with its last binding
            if gone is not None and gone.history is not None:
                return [gone.history.id]
        elif do == "declare queue":
            self._declare_queue(host, change)
        elif do == "adopt queue":
            queue = host.queues[change["name"]]
            queue.vacancy = None
            queue.arguments = unpack_table(change["arguments"])
            self._broker.policies.apply(queue)
        elif do == "delete queue":
            queue = host.queues[change["name"]]
            queue.deleted = True  # its lease may still be known
            self._broker.streams.gone(queue)
            host.remove_queue(queue)
            return [int(change["id"])]
        elif do == MARK:
            set_marks(_stream(host, change["name"]), change)
        elif do == "keep delays":
            self._keep_delays(host, change["id"])
        elif do == "keep items":
            return [self._keep_items(host, change["id"])]
        elif do == "rename queue":
            rename(host, host.queues[change["name"]], change["to"])
        elif do in ("bind", "unbind"):
            self._bind(host, change)
        elif do in (PUT_POLICY, DELETE_POLICY):
            self._broker.policies.restore(host, change)
        elif do == REMEMBER:
            kind = "exchange" if "exchange" in change else "queue"
            owners = host.exchanges if kind == "exchange" else host.queues
            restore_ids(owners[change[kind]].dedup, change["ids"])
        else:
            raise Damaged(f"unknown change {do!r}")
        return []

    def _put_vhost(self, name: str, fields: dict[str, Any]) -> "VHost":
        """`fields`: as `vhost_fields` gives them, or none."""
        host = self._broker.vhosts.get(name)
        if host is None:
            host = self._broker.add_vhost(name)
            host.restoring = True
        if "about" in fields:
            host.about, host.limits = fields["about"], fields["limits"]
        return host

    def _delete_vhost(self, host: "VHost") -> list[int]:
        """Its queues have gone before, each by a record of its own."""
        broker = self._broker
        gone = [broker.delays(host.name).id, broker.keyspaces.items_id(host.name)]
        self._broker.remove_vhost(host.name)
        self._broker.users.forget_vhost(host.name)
        return gone

    def _snapshot(self, change: dict[str, Any]) -> None:
        """The whole topology. Where it is known already, the snapshot says the same again."""
        definitions = self._broker.definitions
        definitions.next_queue_id = max(definitions.next_queue_id, change["next_queue_id"])
        if not self._complete:
            for name in self._broker.vhosts.keys() - change["vhosts"].keys():  # the default one
                self._delete_vhost(self._broker.vhosts[name])
            if "access" in change:
                restore_users(self._broker.users, change["access"])
        for name, found in change["vhosts"].items():
            host = self._put_vhost(name, found)
            if not self._complete:
                self._broker.policies.restore_all(host, found)
                for fields in found["exchanges"]:
                    self._declare_exchange(host, fields)
                for fields in found["queues"]:
                    self._declare_queue(host, fields)
                for fields in found["bindings"]:
                    self._bind(host, {"do": "bind", **fields})
            for fields in found["exchanges"]:
                restore_ids(host.exchanges[fields["name"]].dedup, fields.get("ids", ()))
            if "delays" in found:
                delays = self._keep_delays(host, found["delays"]["id"])
                delays.next_position = max(delays.next_position, found["delays"]["next"])
            if "items" in found:
                self._keep_items(host, found["items"]["id"])
            for fields in found["queues"]:
                restore_ids(host.queues[fields["name"]].dedup, fields.get("ids", ()))
                if "marks" in fields:
                    set_marks(_stream(host, fields["name"]), fields["marks"])
            named: list[tuple[Queue | None, dict[str, Any]]] = [
                (host.queues[fields["name"]], fields) for fields in found["queues"]
            ]
            named += [
                (host.exchanges[fields["name"]].history, fields) for fields in found["exchanges"]
            ]
            for queue, fields in named:
                if queue is not None:
                    queue.next_position = max(queue.next_position, fields["next"])
                    queue.low_position = min(queue.low_position, fields.get("low", 0))
        self._complete = True

    def _keep_delays(self, host: "VHost", id: int) -> Delays:
        delays = self._broker.delays(host.name)
        delays.id = id
        definitions = self._broker.definitions
        definitions.next_queue_id = max(definitions.next_queue_id, id + 1)
        return delays

    def _keep_items(self, host: "VHost", id: int) -> int:
        """Answers the id of those that it had before, which are gone; 0: none."""
        items = self._broker.keyspace(host.name).items
        before, items.id = items.id, id
        definitions = self._broker.definitions
        definitions.next_queue_id = max(definitions.next_queue_id, id + 1)
        return before if before != id else 0

    def _declare_exchange(self, host: "VHost", fields: dict[str, Any]) -> None:
        if fields["name"] in PREDECLARED:
            raise Damaged(f"exchange {fields['name']!r} is not for clients to declare")
        made = host.declare_exchange(
            fields["name"],
            fields["type"],
            True,
            fields["auto_delete"],
            fields["internal"],
            unpack_table(fields["arguments"]),
        )
        if made is not None and made.type == RECENT_HISTORY:
            made.history = History(fields["history"], host.name, made)
            self._known(made.history)

    def _declare_queue(self, host: "VHost", fields: dict[str, Any]) -> None:
        arguments = unpack_table(fields["arguments"])
        queue = self._broker.definitions.make_queue(
            fields["id"], host.name, fields["name"], True, fields["auto_delete"], None, arguments
        )
        self._known(queue)
        queue.head_left = queue.head_left or fields.get("head") == "left"
        if fields.get("undeclared"):
            queue.vacancy = Vacancy(self._broker, queue)
        if isinstance(queue, Group):
            stream = host.queues[arguments[SOURCE]]
            if not isinstance(stream, Stream):
                raise ValueError(f"group {queue.name!r} needs stream {stream.name!r}")
            queue.join(stream, fields["begin"])
        host.add_queue(queue)

    def _known(self, queue: Queue) -> None:
        definitions = self._broker.definitions
        definitions.next_queue_id = max(definitions.next_queue_id, queue.id + 1)
        if queue.bound is None or queue.bound.bytes_max is None:
            self.unlimited.add(queue.id)

    def _bind(self, host: "VHost", change: dict[str, Any]) -> None:
        target: Queue | Exchange | None
        name = change["destination"]
        target = host.exchanges.get(name) if change["to"] == "exchange" else host.queues.get(name)
        if target is None or change["source"] not in host.exchanges:
            if change["do"] == "unbind":  # gone with its source or destination
                return
            raise KeyError(name if target is None else change["source"])
        act = host.bind if change["do"] == "bind" else host.unbind
        act(change["source"], target, change["key"], unpack_table(change["arguments"]))


def _stream(host: "VHost", name: str) -> Stream:
    stream = host.queues[name]
    if not isinstance(stream, Stream):
        raise ValueError(f"stream {name!r}, which is a queue")
    return stream
