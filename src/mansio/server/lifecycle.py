"""The life of a broker process: build, listen, wait for a signal, close in order.

run ── sockets bound ── loop ── log replayed ── serve ── "listening on …"
                                  │ SIGTERM, SIGINT, or a task that failed
                                  ▼
  stop accepting ── goodbye to every client ── wait ── log closed ── exit code
                                  │ a second signal: at once
                                  ▼
                                exit code 1
"""

import asyncio
import gc
import logging
import os
import platform
import resource
import secrets
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from mansio import __version__
from mansio.codec import amqp
from mansio.config import Config
from mansio.core.broker import Broker
from mansio.core.draws import Draws
from mansio.core.limits import NS, Limits
from mansio.core.matching import Means
from mansio.log.base import Log, LogError
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.protocol.expressions import Expressions
from mansio.server import clock, logs, memory, storage, tls
from mansio.server.announcement import announce
from mansio.server.authenticator import LoginAuthenticator
from mansio.server.control import Control
from mansio.server.curve import CurveError
from mansio.server.entrances import Entrances, open_entrances
from mansio.server.fronts import factories
from mansio.server.listeners import ListenError
from mansio.server.logs import fields
from mansio.server.tasks import Tasks
from mansio.server.tls_context import TlsError
from mansio.server.turn import Turn
from mansio.server.visitors import Visitors

if TYPE_CHECKING:
    from mansio.server.exporter import Exporter

logger = logging.getLogger("mansio")

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

CONNECTION_FORCED: Final = 320
SHUTDOWN_TEXT: Final = "broker forced connection closure with reason 'shutdown'"
"""RabbitMQ 3.10.8 observed, at `rabbitmqctl stop`."""

HOUSEKEEPING_S: Final = 0.4
"""Interval of housekeeping. Heartbeats are due after half their interval, the least of which is 1 s: with this one
they come within 0.8 s, before clients that allow for just the interval give up."""

AT_ONCE_S: Final = 1.0
"""What letting go of the log may take when there is no time: it may have to wait for one write."""

GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Allocations between collections, and collections between those of older objects. The hot paths
allocate nothing that is tracked per message; connections and queues come and go slowly."""

CONNECTIONS_FEW: Final = 200
"""Fewer possible connections than this are worth a warning."""

FILES_SPARE: Final = 64
"""File descriptors beside those of connections: standard streams, the loop, listeners, the log."""


def run(config: Config) -> int:
    """Run a broker until it is told to stop; the exit code of the process."""
    logs.configure(config.log_level, config.log_format)
    for note in config.notes:
        logger.warning("%s", note)
    try:
        entrances = open_entrances(config)
        exporter = _open_exporter(config)
    except (ListenError, TlsError, CurveError) as error:
        logger.error("%s", error, extra=fields(bind=config.bind, port=config.port))
        return EXIT_FAILED
    loop_name, loop_factory = _choose_loop()
    logger.info(
        "Mansio %s, pid %d, Python %s, %s, %s codec",
        __version__,
        os.getpid(),
        platform.python_version(),
        loop_name,
        "compiled" if amqp.COMPILED else "pure-Python",
        extra=fields(version=__version__, pid=os.getpid(), compiled=amqp.COMPILED),
    )
    memory.tune_allocator()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(serve(config, entrances, exporter))


async def serve(config: Config, entrances: Entrances, exporter: "Exporter | None" = None) -> int:
    """Serve on sockets that are bound until a signal or a failure; the exit code."""
    asyncio.get_running_loop().set_exception_handler(_log_callback_error)
    stop = Stop()
    stop.listen_to_signals()
    porter = entrances.porter
    if porter is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, tls.reload, porter)
    tasks = Tasks(on_failure=stop.fail)
    opening = tasks.start(_open(config, tasks, stop), "opening")
    await asyncio.wait(
        (opening, tasks.start(stop.first.wait(), "first signal")),
        return_when=asyncio.FIRST_COMPLETED,
    )
    opened = opening.result() if opening.done() and not opening.exception() else None
    if opened is None:
        entrances.close()
        await _within(tasks.cancel_all(), stop, config.shutdown_timeout_s)
        if stop.first.is_set() and not stop.failed:
            logger.info("%s: stopped before the log was read", stop.reason)
        return EXIT_FAILED
    turn, log, authenticator = opened
    turn.porter = porter
    tasks.start(_housekeeping(turn, exporter), "housekeeping")
    tasks.start(turn.watch_space(), "space")
    possible = connections_possible(config)
    control = Control(turn)
    await control.open(storage.data_directory(config), not config.in_memory)
    count = lambda: len(turn.connections) + entrances.strangers  # noqa: E731
    entrances.serve(factories(turn, config, entrances.curve), count, possible, tasks)
    announce(entrances, config, turn.broker.users)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    await stop.first.wait()
    entrances.close()
    control.close()
    logger.info("%s: stopping, open connections: %d", stop.reason, len(turn.connections))
    closing = tasks.start(_close(turn, config.shutdown_timeout_s), "closing")
    at_once = tasks.start(stop.second.wait(), "second signal")
    await asyncio.wait((closing, at_once), return_when=asyncio.FIRST_COMPLETED)
    in_order = closing.done() and closing.exception() is None
    durable = in_order and closing.result()
    await tasks.cancel_all()
    authenticator.close()
    closed = await _within(_let_go(turn, log), stop, config.shutdown_timeout_s)
    if in_order and not (durable and closed):
        logger.error("the log did not take everything in time: what was not confirmed may be lost")
    logger.info("stopped" if in_order else "stopped at once")
    return EXIT_OK if durable and closed and not stop.failed else EXIT_FAILED


def means() -> Means:
    """What routing by content and by chance needs."""
    return Means(Draws(secrets.randbits(64)), Expressions().compile)


def limits(config: Config) -> Limits:
    """The part of the settings that the core keeps."""
    return Limits(
        frame_max=config.frame_max,
        channel_max=config.channel_max,
        heartbeat_s=config.heartbeat_s,
        message_bytes_max=config.message_bytes_max,
        memory_bytes_max=memory.watermark_bytes(config.memory_high_watermark),
        consumer_timeout_ms=config.consumer_timeout_ms,
        handshake_ns=int(config.handshake_timeout_s * NS),
        connections_max=config.connections_max,
        server_product=config.server_product,
        server_version=config.server_version,
        page_bytes=0 if config.in_memory else config.memory_budget,
    )


async def _open(
    config: Config, tasks: Tasks, stop: "Stop"
) -> tuple[Turn, Log, LoginAuthenticator] | None:
    """A turn on a log that was replayed; None, and a line that says why, when there is none."""
    log: Log | None = None
    opened: tuple[Turn, Log, LoginAuthenticator] | None = None
    try:
        log = await storage.open_log(config)
        broker = Broker(limits(config), AmqpLetters(config.frame_max), means())
        broker.now_ms = int(clock.wall_s() * 1000)
        broker.forgetful = config.in_memory
        new = await storage.restore(broker, log, config)
        authenticator = LoginAuthenticator(broker, clock, tasks, config.loopback_users)
        visitors = Visitors(config.connections_per_address_max)
        spool = storage.make_spool(config)
        turn = Turn(broker, log, clock, tasks, authenticator, spool, visitors)
        await turn.open(new)
        if config.definitions or config.default_user:
            from mansio.server.seeds import sow

            sow(broker, config)
        await turn.ready()
        opened = turn, log, authenticator
    except storage.StorageError as error:
        logger.error("%s", error)
    except LogError as error:
        logger.error("cannot write to the log in %s: %s", storage.data_directory(config), error)
    finally:
        if log is not None and opened is None:
            await log.close()
    return opened


class Stop:
    """Why and how urgently to stop: `first` is for an orderly stop, `second` for one at once."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.reason = ""
        self.failed = False

    def listen_to_signals(self) -> None:
        """Take SIGTERM and SIGINT over from Python."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.signalled, number)

    def signalled(self, number: signal.Signals) -> None:
        """A signal came: the first one asks to stop, the second one to stop at once."""
        if self.first.is_set():
            self.second.set()
        self.reason = self.reason or number.name
        self.first.set()

    def fail(self, task: str, error: BaseException) -> None:
        """A task failed: stop, with an exit code that tells."""
        self.failed = True
        self.reason = self.reason or f"task {task} failed"
        self.first.set()


def _open_exporter(config: Config) -> "Exporter | None":
    """Metrics over HTTP, if they are asked for; what they need is loaded only then. ListenError."""
    if not config.metrics_port:
        return None
    from mansio.server.exporter import Exporter

    return Exporter(config.metrics_bind, config.metrics_port)


async def _close(turn: Turn, timeout_s: float) -> bool:
    """Whether everything is durable."""
    for connection in list(turn.connections):
        connection.shutdown(CONNECTION_FORCED, SHUTDOWN_TEXT)
    await turn.drain(timeout_s)
    return await turn.stop(timeout_s)


async def _let_go(turn: Turn, log: Log) -> None:
    await turn.close()
    await log.close()


async def _within(work: Coroutine[Any, Any, None], stop: "Stop", timeout_s: float) -> bool:
    """Whether this ends in time: the log's process may be stuck in the system, and ends by itself when it is not."""
    working = asyncio.ensure_future(work)
    at_once = asyncio.ensure_future(stop.second.wait())
    await asyncio.wait((working, at_once), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    at_once.cancel()
    await asyncio.wait((working,), timeout=AT_ONCE_S)
    return working.done() and not working.exception()


async def _housekeeping(turn: Turn, exporter: "Exporter | None") -> None:
    trimmer = memory.Trimmer()
    while True:
        if exporter is not None:
            exporter.refresh(turn)
        await asyncio.sleep(HOUSEKEEPING_S)
        turn.tick()
        if turn.porter is not None:
            turn.porter.tick()
        trimmer.tick(clock.now_ns(), clock.cpu_ns())


def _log_callback_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception in a callback of the loop, such as a connection's: our bug, so log all of it."""
    logger.error("%s", context.get("message", "error"), exc_info=context.get("exception"))


def _choose_loop() -> tuple[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The name and factory of the event loop: uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        logger.warning("uvloop is not installed: asyncio's own event loop is used, which is slower")
        return "asyncio", asyncio.new_event_loop
    return f"uvloop {getattr(uvloop, '__version__', '')}", uvloop.new_event_loop


def connections_possible(config: Config) -> int:
    """Take as many file descriptors as are allowed; how many connections there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    except (OSError, ValueError) as error:  # macOS reports a limit that it does not grant
        logger.debug("the limit of open files stays at %d: %s", soft, error)
    possible = config.connections_max
    if soft != resource.RLIM_INFINITY:
        possible = max(1, min(possible, soft - FILES_SPARE))
    logger.log(
        logging.WARNING if possible < CONNECTIONS_FEW else logging.DEBUG,
        "up to %d connections (connections_max is %d, limit of open files is %d: see ulimit -n)",
        possible,
        config.connections_max,
        soft,
        extra=fields(connections=possible, files_max=soft),
    )
    return possible
