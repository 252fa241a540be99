"""The envelope of a request: frames in front that are not for us, and come back unchanged in front of the reply.

    REQ       ['', request …]                 libzmq puts the empty frame there, and takes it away from the reply
    REQ       [id, '', request …]             with ZMQ_REQ_CORRELATE
    DEALER    [anything …, '', request …]     all up to the first empty frame: what a client tells its requests apart by
    DEALER    [request …]                     without an empty frame there is no envelope, and none in the reply

What a DEALER sends that begins with a verb is a request without an envelope, whatever comes then: so it may have an
empty body. Whoever needs an envelope puts an empty frame behind it.
"""

from collections.abc import Container


def begin(frames: list[bytes], verbs: Container[bytes]) -> int:
    """Where the request begins: so many frames are the envelope. `verbs`: with which a request without an envelope may
    begin; none for a REQ."""
    if frames[0] in verbs:
        return 0
    try:
        return frames.index(b"") + 1
    except ValueError:
        return 0
