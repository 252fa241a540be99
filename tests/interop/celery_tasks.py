"""The application of test_celery.py; it is imported by workers and callers in an environment of their own."""

import os
import time

from celery import Celery  # type: ignore[import-not-found]
from kombu import Exchange, Queue  # type: ignore[import-untyped]

app = Celery("tests", broker=os.environ["BROKER"], backend="rpc://")
name = os.environ["QUEUE"]
app.conf.task_default_queue = app.conf.task_default_routing_key = name
app.conf.worker_prefetch_multiplier = 1
app.conf.control_exchange = name
if os.environ.get("QUORUM"):
    app.conf.task_default_exchange = name
    app.conf.task_default_exchange_type = "topic"
    app.conf.task_default_queue_type = "quorum"
else:
    arguments = {"x-max-priority": 10}
    if timeout_ms := os.environ.get("TIMEOUT_MS"):
        arguments["x-consumer-timeout"] = int(timeout_ms)
    exchange = Exchange(name, "direct")
    app.conf.task_queues = [Queue(name, exchange, routing_key=name, queue_arguments=arguments)]


@app.task
def add(x: int, y: int) -> int:
    """A result."""
    return x + y


@app.task
def say(text: str) -> None:
    """A line in the worker's output."""
    print(f"said {text}", flush=True)


@app.task
def hold(seconds: float) -> float:
    """Keep a process busy; answers when it began."""
    began = time.time()
    time.sleep(seconds)
    return began
