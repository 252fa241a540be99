"""Ends of consumers, queues, channels and connections, and what becomes of what was theirs."""

from __future__ import annotations

from tests.sim.model import Channel, Connection, Consumer, Delivery, Transaction
from tests.sim.moves import Moves
from tests.sim.receipts import DROPPED
from tests.sim.topology import Queue


class Ends(Moves):
    """The part of the model that takes things away."""

    def roll_back(self, channel: Channel) -> None:
        """Forgets the publishes of the transaction; its settlements are undone."""
        assert channel.tx is not None
        for deliveries, _ in channel.tx.settled:
            for delivery in deliveries:
                channel.unacked[delivery.tag] = delivery
                delivery.since_ms = self.now_ms
        channel.tx = Transaction()

    def take_unacked(self, channel: Channel) -> list[Delivery]:
        """Takes everything that is not settled, by tag."""
        taken = [channel.unacked[tag] for tag in sorted(channel.unacked)]
        channel.unacked.clear()
        return taken

    def cancel(self, consumer: Consumer) -> None:
        """Ends a subscription, and an auto-delete queue with its last one."""
        queue = consumer.queue
        del consumer.channel.consumers[consumer.tag]
        queue.consumers.remove(consumer)
        queue.used_ms = self.now_ms
        if queue.active is consumer:
            queue.active = max(queue.consumers, key=lambda each: each.priority, default=None)
        self.divide(queue)
        if queue.auto_delete and not queue.consumers and not queue.deleted:
            self.drop_queue(queue)

    def drop_queue(self, queue: Queue) -> int:
        """Deletes a queue; how many ready messages it had."""
        queue.deleted = True
        for group in list(queue.stream.groups) if queue.stream is not None else ():
            self.drop_queue(group)
        held = [(each.entry, each.holder) for each in self.deliveries(queue)]
        held += [(each.entry, each.holder) for each in self.dying if each.queue is queue]
        self.dying = [each for each in self.dying if each.queue is not queue]
        held += [(entry, None) for entry in queue.waiting()]
        count = queue.clear()
        self.topology.remove_queue(queue.name)
        if queue.owner is not None:
            del queue.owner.owned[queue.name]
        for entry, holder in held:
            self.end(queue, entry, DROPPED, holder)
        for consumer in list(queue.consumers):
            self.cancel(consumer)
            self.cancelled.append((consumer.channel, consumer.tag))
        self.leave_rota(queue)
        return count

    def end_channel(self, channel: Channel) -> None:
        """Consumers go, deliveries return to their queues, confirms are not waited for any more."""
        if channel.tx is not None:
            self.roll_back(channel)
            channel.tx = None
        for consumer in list(channel.consumers.values()):
            self.cancel(consumer)
        self.requeue(self.take_unacked(channel))
        channel.pending.clear()
        channel.commits.clear()

    def end_session(self, connection: Connection) -> None:
        """All channels end; exclusive queues go away."""
        for channel in connection.channels.values():
            if not channel.closing:
                self.end_channel(channel)
                channel.closing = True
        connection.channels.clear()
        for queue in list(connection.owned.values()):
            self.drop_queue(queue)

    def end_connection(self, connection: Connection) -> None:
        """It is gone, whoever ended it."""
        if connection.desk is not None and connection.state == "open":
            connection.desk.closing()
        self.end_session(connection)
        connection.state = "closed"
        if connection in self.connections:
            self.connections.remove(connection)
