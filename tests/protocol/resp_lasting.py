"""A world without sockets whose log is kept, with Redis clients: it can be restarted, and messages may be paged out."""

from typing import Any

from tests.protocol import resp_talk
from tests.protocol.lasting import LastingWorld


class LastingRedisWorld(LastingWorld, resp_talk.World):
    """See both."""

    def turn(self, durable: bool = True) -> None:
        super().turn(durable)
        for _ in range(100):
            self.load()
            woken = self.broker.paging.loading.take_woken()
            self.go_on()
            for front in woken:
                front.go_on(self.now_ns)
            super().turn(durable)
            if not (woken or self.broker.resumed or self.broker.paging.loading.wanted):
                return
        raise AssertionError("somebody waits for ever")

    def restarted(self, parts: int | None = None, **limits: Any) -> "LastingRedisWorld":
        world = LastingRedisWorld([list(part) for part in self.parts[:parts]], **limits)
        world.broker.now_ms = self.broker.now_ms
        return world
