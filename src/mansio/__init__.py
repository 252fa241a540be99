"""Mansio: a message broker in Python that speaks AMQP 0-9-1.

The codec is one source in two forms: compiled when `make install` could compile it, plain Python
otherwise. MANSIO_PURE=1 in the environment makes Python load the plain form although the compiled
one is there; that has to be settled before `mansio.codec` is imported, hence here.
"""

import os

__version__ = "0.1.0"

if os.environ.get("MANSIO_PURE", "") not in ("", "0"):
    from mansio import _pure

    _pure.install()
