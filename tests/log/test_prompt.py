"""Prompt: who waits for a number is called at once, and for an error by the loop."""

from __future__ import annotations

import asyncio

import pytest

from mansio.log.base import Unavailable
from mansio.log.prompt import Prompt


def test_a_result_is_told_at_once() -> None:
    async def test() -> None:
        prompt, heard = Prompt(), list[Prompt]()
        prompt.add_done_callback(heard.append)
        assert not prompt.done()
        prompt.set_result(7)
        assert heard == [prompt] and prompt.done()
        assert prompt.result() == 7 and prompt.exception() is None
        prompt.add_done_callback(heard.append)
        await asyncio.sleep(0)
        assert heard == [prompt] * 2, "also who asks late"

    asyncio.run(test())


def test_an_error_is_told_by_the_loop() -> None:
    async def test() -> None:
        prompt, heard = Prompt(), list[Prompt]()
        prompt.add_done_callback(heard.append)
        prompt.set_exception(Unavailable("gone"))
        assert heard == [] and prompt.done()
        await asyncio.sleep(0)
        assert heard == [prompt]
        with pytest.raises(Unavailable):
            prompt.result()

    asyncio.run(test())


def test_it_can_be_awaited_and_given_up() -> None:
    async def test() -> None:
        prompt = Prompt()
        first, second = asyncio.ensure_future(prompt), asyncio.ensure_future(prompt)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        prompt.set_result(3)
        assert await first == 3 and second.cancelled()
        assert await prompt == 3

    asyncio.run(test())
