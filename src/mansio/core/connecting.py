"""The part of the Broker that connections begin and end with: sessions of users in virtual hosts, their channels."""

from mansio.core.confirms import Confirms
from mansio.core.consuming import Consuming
from mansio.core.counts import Counts
from mansio.core.errors import NotAllowed
from mansio.core.reserving import Reserving
from mansio.core.session import Channel, Outbox, Session
from mansio.core.topology import VHost
from mansio.core.users import MAX_CHANNELS, MAX_CONNECTIONS, Users


class Connecting(Consuming):
    """See broker.py, which has the rest."""

    confirms: Confirms
    counts: Counts
    reserving: Reserving
    sessions: dict[Session, None]
    users: Users
    vhosts: dict[str, VHost]

    def rollback(self, channel: Channel, close: bool = False) -> None:
        """See `Broker`."""
        raise NotImplementedError

    def open_session(
        self, outbox: Outbox, user: str, vhost: str, name: str, before: Session | None = None
    ) -> Session:
        """A connection whose user has logged in; NotAllowed for a vhost that there is not, or not for this user.
        `before`: what the same connection has had so far, and will close."""
        host = self.vhosts.get(vhost)
        if host is None:
            raise NotAllowed(f"vhost {vhost} not found")
        found = self.users.find(user)
        limit = host.limits.get(MAX_CONNECTIONS, -1)
        if 0 <= limit <= host.sessions - (before is not None and before.vhost == vhost):
            raise NotAllowed(
                f"access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is reached",
                passing=True,
            )
        if found is not None:
            limit = found.limit(MAX_CONNECTIONS)
            if 0 <= limit <= found.sessions - (before is not None and before.rights.user is found):
                raise NotAllowed(
                    f"connection refused for user '{user}': user connection limit ({limit}) is reached",
                    passing=True,
                )
        if found is None or self.users.rights(user, vhost).permission is None:
            raise NotAllowed(f"access to vhost '{vhost}' refused for user '{user}'")
        session = Session(outbox, self.users.rights(user, vhost), name)
        self.sessions[session] = None
        host.sessions += 1
        found.sessions += 1
        self.counts.sessions_opened += before is None
        return session

    def close_session(self, session: Session) -> None:
        """Ends it: deliveries go back to their queues, exclusive queues go away."""
        for channel in list(session.channels.values()):
            self.close_channel(channel)
        for queue in list(session.owned.values()):
            self.definitions.drop_queue(queue)
        session.closed = True
        session.starved.clear()
        if session in self.sessions:
            del self.sessions[session]
            self.vhosts[session.vhost].sessions -= 1
            session.rights.user.sessions -= 1

    def open_channel(self, session: Session, number: int) -> Channel:
        """A new channel; the front has checked that the number is free. NotAllowed above the user's limit."""
        user = session.rights.user
        limit = user.limit(MAX_CHANNELS)
        if 0 <= limit <= user.channels:
            raise NotAllowed(
                f"number of channels opened for user '{user.name}' has reached the maximum allowed user limit of "
                f"({limit})",
                passing=True,
            )
        user.channels += 1
        channel = session.channels[number] = Channel(session, number)
        self.counts.channels_opened += 1
        return channel

    def close_channel(self, channel: Channel) -> None:
        """Ends it: consumers are cancelled, an open transaction is rolled back, deliveries are requeued."""
        self.rollback(channel, close=True)
        for consumer in list(channel.consumers.values()):
            self.cancel(channel, consumer.tag)
        self.settling.requeue(channel.ledger.take_all())
        self.confirms.forget(channel)
        self.overdue.forget(channel)
        self.reserving.forget(channel)
        if channel.session.channels.pop(channel.number, None) is not None:
            self.counts.channels_closed += 1
            channel.session.rights.user.channels -= 1
