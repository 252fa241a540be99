"""An answer that is told at once, not in the next pass of the loop: the disk waits for the next entry meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator


class Prompt:
    """The part of asyncio.Future that is needed for the number that a request is answered with; never cancelled.

    What is added by `add_done_callback` is called by whoever sets the result, and must not raise; behind an error
    it is called by the loop.
    """

    __slots__ = ("_callbacks", "_done", "_error", "_value")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Prompt], object]] = []
        self._done = False
        self._error: BaseException | None = None
        self._value = 0

    def done(self) -> bool:
        """Is it answered?"""
        return self._done

    def cancelled(self) -> bool:
        """Never."""
        return False

    def exception(self) -> BaseException | None:
        """What went wrong, once it is answered."""
        return self._error

    def result(self) -> int:
        """The number, once it is answered. Errors: what went wrong."""
        if self._error is not None:
            raise self._error
        return self._value

    def add_done_callback(self, callback: Callable[[Prompt], object]) -> None:
        """Call it with this object when it is answered."""
        if self._done:
            asyncio.get_running_loop().call_soon(callback, self)
        else:
            self._callbacks.append(callback)

    def set_result(self, value: int) -> None:
        """Answer."""
        self._done, self._value = True, value
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def set_exception(self, error: BaseException) -> None:
        """Answer that it went wrong."""
        self._done, self._error = True, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            asyncio.get_running_loop().call_soon(callback, self)

    def __await__(self) -> Generator[object, None, int]:
        if not self._done:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(_: Prompt) -> None:
                if not future.done():
                    future.set_result(None)

            self.add_done_callback(wake)
            yield from future
        return self.result()
