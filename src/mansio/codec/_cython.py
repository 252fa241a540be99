"""Stands in for the `cython` module where Cython is not installed: the hot codec then runs as plain Python."""

from typing import Final

compiled: Final = False
