"""Random draws for choices that are not secret: a small generator of our own, so that a seed decides them all."""

from typing import Final

_MASK: Final = (1 << 64) - 1
_FALLBACK: Final = 0x9E3779B97F4A7C15
"""Takes the place of a state of 0, from which nothing else would ever come."""


class Draws:
    """xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016)."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        """`seed`: any whole number; its lowest 64 bits count."""
        self._state = (seed ^ _FALLBACK) & _MASK or _FALLBACK

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1, each as likely as the others (to about n in 2**64)."""
        x = self._state
        x ^= x >> 12
        x = (x ^ (x << 25)) & _MASK
        x ^= x >> 27
        self._state = x
        return ((x * 0x2545F4914F6CDD1D) & _MASK) * n >> 64
