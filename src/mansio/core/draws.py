"""Random numbers for the core, which must not draw any by itself: a seed decides all of them."""

from typing import Final

_MASK: Final = (1 << 64) - 1
_STEP: Final = 0x9E3779B97F4A7C15


class Draws:
    """A generator of 64 random bits at a time: SplitMix64 (Steele, Lea and Flood 2014). Not for secrets."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        """`seed`: its lower 64 bits count."""
        self._state = seed & _MASK

    def next(self) -> int:
        """64 random bits."""
        self._state = state = (self._state + _STEP) & _MASK
        return mix(state)

    def below(self, n: int) -> int:
        """A number in [0, n), each as likely as any other but for a part in 2**64 / n. `n` is at least 1."""
        return self.next() * n >> 64


def mix(value: int) -> int:
    """Spreads every bit of a 64-bit number over all of them: the finalizer of SplitMix64, one to one."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)
