"""Strings as numbers: INCR, INCRBYFLOAT and what is like them. Rules and texts of redis-server 7.0.15.

INCRBYFLOAT counts as Redis does on x86-64, in floating-point numbers with 64 bits of mantissa (long double), and shows
17 digits behind the point.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.access import check_room, readable, writable
from mansio.protocol.resp.arguments import INT_MAX, INT_MIN, integer
from mansio.protocol.resp.command import WRITE, Command
from mansio.protocol.resp.errors import NOT_A_FLOAT, CommandError

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

OVERFLOW: Final = "ERR increment or decrement would overflow"
NOT_FINITE: Final = "ERR increment would produce NaN or Infinity"
MANTISSA_BITS: Final = 64
EXPONENT_MAX: Final = 16384
"""A long double is below 2 to this power."""
EXPONENT_MIN: Final = -16445
"""Its least number but 0 is 2 to this power."""
DIGITS_MAX: Final = 5119
"""Characters that a number may have."""
_DECIMAL: Final = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_HEX: Final = re.compile(rb"([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?\d+))?", re.IGNORECASE)
_INFINITE: Final = re.compile(rb"[+-]?inf(inity)?", re.IGNORECASE)


def incr(client: "RespConnection", args: list[bytes]) -> Any:
    """INCR key"""
    return _add(client, args[1], 1)


def decr(client: "RespConnection", args: list[bytes]) -> Any:
    """DECR key"""
    return _add(client, args[1], -1)


def incrby(client: "RespConnection", args: list[bytes]) -> Any:
    """INCRBY key increment"""
    return _add(client, args[1], integer(args[2]))


def decrby(client: "RespConnection", args: list[bytes]) -> Any:
    """DECRBY key decrement"""
    by = integer(args[2])
    if by == INT_MIN:
        raise CommandError("ERR decrement would overflow")
    return _add(client, args[1], -by)


def incr_rows(
    client: "RespConnection",
    args: list[bytes],
    times: int,
    values: list[bytes] | None,
    counts: list[int] | None,
) -> tuple[bytes, int]:
    """The same INCR many times."""
    first = incr(client, args)
    last = first + times - 1
    if last > INT_MAX:
        return b":%d\r\n" % first, 1
    if times > 1:
        _add(client, args[1], times - 1)
    return b"".join([b":%d\r\n" % value for value in range(first, last + 1)]), times


def _add(client: "RespConnection", key: bytes, by: int) -> int:
    readable(client, key)
    keys = writable(client, key)
    old = keys.get(key)
    value = by if old is None else integer(old) + by
    if not INT_MIN <= value <= INT_MAX:
        raise CommandError(OVERFLOW)
    check_room(client, 20)
    keys.put(key, b"%d" % value)
    return value


def incrbyfloat(client: "RespConnection", args: list[bytes]) -> Any:
    """INCRBYFLOAT key increment"""
    key = args[1]
    readable(client, key)
    keys = writable(client, key)
    old = keys.get(key)
    value = Fraction(0) if old is None else long_double(old)
    by = long_double(args[2])
    if value is None or by is None:
        raise CommandError(NOT_FINITE)
    total = _rounded(value + by)
    if total is None:
        raise CommandError(NOT_FINITE)
    text = shown(total)
    check_room(client, len(text))
    keys.put(key, text)
    return text


def long_double(text: bytes) -> Fraction | None:
    """The number that a text stands for, as strtold reads it; None if it is infinite. CommandError."""
    if len(text) <= DIGITS_MAX:
        if _INFINITE.fullmatch(text):
            return None
        exact: Fraction | None = None
        if _DECIMAL.fullmatch(text):
            exact = _of_decimal(text)
        elif found := _HEX.fullmatch(text):
            exact = _of_hex(*found.groups())
        if exact is not None:
            value = _rounded(exact)
            if value is not None and (value or not exact):
                return value
    raise CommandError(NOT_A_FLOAT)


def _of_decimal(text: bytes) -> Fraction | None:
    """None when it is too large or too small by far."""
    mantissa, _, exponent = text.lower().partition(b"e")
    number = Fraction(mantissa.decode())
    power = max(min(int(exponent or b"0"), 20_000), -20_000)
    if number and abs(power) >= 11_000:
        return None
    return number * Fraction(10) ** power


def _of_hex(sign: bytes, whole: bytes, part: bytes, exponent: bytes | None) -> Fraction | None:
    if not whole + part:
        return None
    power = max(min(int(exponent or b"0"), 40_000), -40_000)
    value = Fraction(int(whole + part, 16)) * Fraction(2) ** (power - 4 * len(part))
    return -value if sign == b"-" else value


def _rounded(value: Fraction) -> Fraction | None:
    """The nearest long double, to the even one if two are; None if it is infinite."""
    if not value:
        return value
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - MANTISSA_BITS + 1, EXPONENT_MIN)
    nearest = round(value / unit) * unit
    return None if abs(nearest) >= Fraction(2) ** EXPONENT_MAX else nearest


def shown(value: Fraction) -> bytes:
    """As printf("%.17Lf") shows it, less zeros at the end."""
    with localcontext() as context:
        context.prec = 20_000
        exact = Decimal(value.numerator) / Decimal(value.denominator)
        text = format(exact.quantize(Decimal(1).scaleb(-17), ROUND_HALF_EVEN), "f")
    text = text.rstrip("0").rstrip(".")
    return b"0" if text == "-0" else text.encode()


COMMANDS: Final = [
    Command("incr", incr, 2, WRITE, 1, 1, 1, rows=incr_rows),
    Command("decr", decr, 2, WRITE, 1, 1, 1),
    Command("incrby", incrby, 3, WRITE, 1, 1, 1),
    Command("decrby", decrby, 3, WRITE, 1, 1, 1),
    Command("incrbyfloat", incrbyfloat, 3, WRITE, 1, 1, 1),
]
