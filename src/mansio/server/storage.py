"""The log of a broker process: which one it is, and the way back from it to the broker's state at start.

settings ──► EmbeddedLog in a folder, or MemoryLog ──► replay, with progress ──► the Broker as it was
"""

import asyncio
import logging
import shutil
import time
from pathlib import Path
from typing import Final

from mansio.config import Config
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.core.records import Damaged as DamagedRecord
from mansio.core.restore import Restore
from mansio.log.base import Damaged, Log, LogError
from mansio.log.embedded import EmbeddedLog
from mansio.log.memory import MemoryLog
from mansio.log.segments.settings import StoreSettings
from mansio.server.logs import fields

logger = logging.getLogger("mansio.storage")

PROGRESS_S: Final = 2.0
"""Between two lines about a replay that takes long, and before the first."""

SPOOL_SEGMENT_BYTES: Final = 2 << 20
"""Small, since a segment and its spares stay when the spool is empty."""

_RISKS: Final = {
    "interval": "a power cut or a crash of the machine may lose what was confirmed in the last %d ms",
    "never": "a power cut or a crash of the machine may lose what was confirmed in the last half minute or so",
}


class StorageError(Exception):
    """The log cannot be used; the text is for people and says what to do."""


def data_directory(config: Config) -> Path:
    """Where the log is."""
    return Path(config.data_dir).expanduser().absolute()


async def open_log(config: Config) -> Log:
    """The log that the settings ask for, ready to be replayed. StorageError."""
    if config.in_memory:
        return MemoryLog(retain=False)
    policy, _, interval = config.sync.partition("=")
    settings = StoreSettings(
        segment_bytes=config.segment_size,
        sync=policy,  # type: ignore[arg-type]  # config.py has checked it
        interval_ms=int(interval or 1),
        disk_free_min_bytes=config.disk_free_limit,
    )
    path = data_directory(config)
    log = EmbeddedLog(path, settings)
    try:
        await log.start()
    except Damaged as error:
        raise StorageError(_damage(str(error), path)) from error
    except LogError as error:
        raise StorageError(f"cannot use the data in {path}: {error}") from error
    if log.cut is not None:
        name, offset, size = log.cut
        logger.warning(
            "the log ended in the middle of an entry that nobody was told of: %d bytes cut off %s at byte %d",
            size,
            path / "log" / name,
            offset,
        )
    if policy != "always":
        risk = _RISKS[policy]
        logger.warning("sync is %s: %s", config.sync, risk % int(interval) if interval else risk)
    return log


def make_spool(config: Config) -> Log | None:
    """The log for transient messages that have no room in memory; what an earlier broker left in it goes.

    `open_log` has made sure that no other broker uses it.
    """
    if config.in_memory:
        return None
    path = data_directory(config) / "spool"
    shutil.rmtree(path, ignore_errors=True)
    settings = StoreSettings(SPOOL_SEGMENT_BYTES, sync="never", scratch=True)
    return EmbeddedLog(path, settings)


async def restore(broker: Broker, log: Log, config: Config) -> bool:
    """Brings the broker back to what the log says; whether the log has had no record yet. StorageError."""
    replay = Restore(broker)
    started = time.monotonic()
    told = started
    where = "the log" if config.in_memory else str(data_directory(config))
    seq = 0
    try:
        async for seq, entry in log.replay((await log.bounds()).first_seq):
            replay.entry(seq, entry.size)
            for record, offset in zip(entry.records, entry.starts, strict=True):
                replay.apply(record, offset)
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                _tell_progress(replay, log, told - started)
                await asyncio.sleep(0)
        replay.finish()
    except (Damaged, DamagedRecord) as error:
        text = str(error) if isinstance(error, Damaged) else f"entry {seq}: {error}"
        raise StorageError(_damage(text, data_directory(config))) from error
    except BrokerError as error:
        text = f"entry {seq} of the log: {error.text}"
        raise StorageError(f"the broker does not start, and nothing was changed: {text}") from error
    except LogError as error:
        raise StorageError(f"cannot read the data in {where}: {error}") from error
    _tell_result(broker, replay, where, time.monotonic() - started)
    return replay.records == 0


def _damage(text: str, path: Path) -> str:
    return (
        f"the log is damaged: {text}. Nothing was changed. What lies behind it in the log would be lost or wrong, so "
        f"the broker does not start. Restore a backup, or look at it with `mansio log verify {path}` and save the rest "
        f"into a new folder with `mansio log salvage {path} NEW`"
    )


def _tell_progress(replay: Restore, log: Log, seconds: float) -> None:
    done, total = log.progress if isinstance(log, EmbeddedLog) else (0, 0)
    rate = done / seconds
    logger.info(
        "reading the log: %d messages, %d of %d MiB, %d MiB/s, %.0f s left",
        replay.messages,
        done >> 20,
        total >> 20,
        int(rate) >> 20,
        (total - done) / rate if rate else 0,
        extra=fields(messages=replay.messages, done_bytes=done, total_bytes=total),
    )


def _tell_result(broker: Broker, replay: Restore, where: str, seconds: float) -> None:
    if not replay.records:
        return
    queues = [queue for host in broker.vhosts.values() for queue in host.queues.values()]
    ready = sum(queue.ready_count for queue in queues if not queue.fed)  # else they are a stream's
    logger.info(
        "%d messages in %d queues are back from %s, read in %.2f s",
        ready,
        len(queues),
        where,
        seconds,
        extra=fields(messages=ready, queues=len(queues), seconds=round(seconds, 3)),
    )
