"""What dramatiq's tests import from tests/common.py, which its source archive lacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
from dramatiq import Worker  # type: ignore[import-not-found]

RABBITMQ_USERNAME = RABBITMQ_PASSWORD = "guest"
RABBITMQ_CREDENTIALS = pika.PlainCredentials(RABBITMQ_USERNAME, RABBITMQ_PASSWORD)

_always = pytest.mark.skipif(False, reason="")
skip_in_ci = skip_on_windows = skip_on_pypy = skip_unless_rabbit_mq = _always


@contextmanager
def worker(*args: Any, **kwargs: Any) -> Iterator[Worker]:
    """A worker that is stopped in any case."""
    worker = Worker(*args, **kwargs)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
