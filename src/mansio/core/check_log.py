"""The part of the invariants that is about the log: every live run whose record is durable is accounted for."""

from collections.abc import Collection

from mansio.core.check_topology import InvariantBroken
from mansio.core.items import Batch
from mansio.core.retention import TOLD_BYTES, Held, Retention


def check_retention(retention: Retention, live: Collection[Held]) -> None:
    """Raises InvariantBroken when the log may lose a live run, keeps a dead one, or miscounts. `live`: all of them."""
    known: dict[Held, int] = {}
    needed = set(live)
    last_seq = 0
    for number, bucket in enumerate(retention.buckets):
        if not last_seq < bucket.first_seq <= bucket.last_seq:
            raise InvariantBroken(f"bucket [{bucket.first_seq}, {bucket.last_seq}] of the log")
        last_seq = bucket.last_seq
        for run in (*bucket.runs, *bucket.moving):
            if run.bucket is not bucket or not bucket.first_seq <= run.seq <= bucket.last_seq:
                raise InvariantBroken(f"a run at seq {run.seq} of the log is in bucket {number}")
            if run not in needed:
                raise InvariantBroken(f"a settled run at seq {run.seq} keeps the log")
            known[run] = run.size + TOLD_BYTES * len(run.gone or ())
        if sum(known[run] for run in (*bucket.runs, *bucket.moving)) != bucket.live_bytes:
            raise InvariantBroken(
                f"bucket {number} of the log counts {bucket.live_bytes} live bytes"
            )
    for run in live:
        if run.seq and (isinstance(run, Batch) or run.places) and run not in known:
            raise InvariantBroken(f"a live run at seq {run.seq} of the log may be lost")
    if sum(known.values()) != retention.live_bytes:
        raise InvariantBroken(f"{retention.live_bytes} bytes of the log are live, not as counted")
    if sum(bucket.bytes for bucket in retention.buckets) != retention.total_bytes:
        raise InvariantBroken(f"the log counts {retention.total_bytes} bytes")
