"""Expressions over messages, for `x-content`: CEL (github.com/google/cel-spec), evaluated by Google's runtime.

    text ──compile──► checked: syntax, names, types ──matches(view)──► True, or False: also where it cannot be evaluated

What one evaluation costs is bounded: there are no loops (`all`, `exists`, `map` …) and no regular expressions, an
expression and the body that it may look at have a greatest size, and what makes strings longer, `+`, may stand in it a
few times only. The runtime is loaded with the first expression (31 ms, 6 MiB); it is not needed otherwise.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from mansio.core.view import View

EXPRESSION_CHARS_MAX: Final = 2000
ADDITIONS_MAX: Final = 16
BODY_BYTES_MAX: Final = 65_536
"""A longer body is not looked at. Parsing one of this size and handing it over takes some 3 ms."""

COMPILED_MAX: Final = 4096
"""Expressions that are remembered, so that many bindings with few of them cost little to declare and to restore."""

MISSING: Final = "expressions need the package cel-expr-python: pip install 'mansio[content]'"

_ENVIRONMENT: Final = """
name: mansio
stdlib:
  exclude_macros: [all, exists, exists_one, existsOne, filter, map]
  exclude_functions:
    - name: matches
variables:
  - {name: body, type: dyn}
  - {name: exchange, type: string}
  - {name: headers, type: "map<string,dyn>"}
  - {name: properties, type: "map<string,dyn>"}
  - {name: routing_key, type: string}
"""
_BODY: Final = re.compile(r"\bbody\b")
_ERROR: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_NOISE: Final = re.compile(r" expecting \{.*| \(in container ''\)| \[INVALID_ARGUMENT\]$")


class CelExpression:
    """One that was compiled. `mentions_body`: it may look at the body, so that has to be parsed."""

    __slots__ = ("_environment", "_program", "mentions_body")

    def __init__(self, environment: Any, program: Any, mentions_body: bool) -> None:
        self._environment = environment
        self._program = program
        self.mentions_body = mentions_body

    def matches(self, view: View) -> bool:
        """See `core.view.Expression`."""
        try:
            return self._program.eval(self._activation(view)).value() is True
        except (
            Exception
        ):  # the runtime's conversions raise what they like: such a message does not match
            return False

    def _activation(self, view: View) -> Any:
        """The message as the runtime takes it; made once for all expressions, and once more for those with a body."""
        if view.memo is None:
            view.memo = [None, None]
        found = view.memo[self.mentions_body]
        if found is None:
            values = _values(view)
            if self.mentions_body:
                _add_body(values, view.body)
            found = view.memo[self.mentions_body] = self._environment.Activation(values)
        return found


class Expressions:
    """Compiles them."""

    def __init__(self) -> None:
        self._environment: Any = None
        self._types: tuple[Any, ...] = ()
        self._compiled: dict[str, CelExpression] = {}

    def compile(self, text: str) -> CelExpression:
        """See `core.view.Compile`."""
        found = self._compiled.get(text)
        if found is None:
            _check(text)
            program = self._program(text)
            if len(self._compiled) >= COMPILED_MAX:
                self._compiled.clear()
            found = CelExpression(self._environment, program, _BODY.search(text) is not None)
            self._compiled[text] = found
        return found

    def _program(self, text: str) -> Any:
        if self._environment is None:
            self._load()
        try:
            program = self._environment.compile(text)
        except RuntimeError as error:
            raise ValueError(_explain(str(error))) from None
        kind = program.return_type()
        if kind not in self._types:
            raise ValueError(f"it has to be true or false, and is of type {kind.name()}")
        return program

    def _load(self) -> None:
        try:
            from cel_expr_python import cel
        except ImportError as error:
            raise ValueError(MISSING) from error
        self._types = (cel.Type.BOOL, cel.Type.DYN)
        self._environment = cel.NewEnv(config=cel.NewEnvConfigFromYaml(_ENVIRONMENT))


def _check(text: str) -> None:
    if not text:
        raise ValueError("it is empty")
    if len(text) > EXPRESSION_CHARS_MAX:
        raise ValueError(f"{len(text)} characters, at most {EXPRESSION_CHARS_MAX} are allowed")
    if text.count("+") > ADDITIONS_MAX:
        raise ValueError(f"'+' stands in it more than {ADDITIONS_MAX} times")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it is not UTF-8") from error
    if "\0" in text:
        raise ValueError("it holds a NUL character")


def _explain(text: str) -> str:
    """The first error as 'line 1, column 5: what is wrong'; replies have room for some 200 bytes."""
    found = _ERROR.search(text)
    if found is None:
        return _NOISE.sub("", text.partition("\n")[0])
    line, column, reason = found.groups()
    reason = _NOISE.sub("", reason)
    return f"line {line}, column {column}: {reason}" if int(line) > 0 else reason


def _values(view: View) -> dict[str, Any]:
    return {
        "exchange": _plain(view.exchange),
        "headers": _plain(view.headers),
        "properties": _plain(view.properties),
        "routing_key": _plain(view.routing_key),
    }


def _add_body(values: dict[str, Any], body: bytes) -> None:
    """A body that is no JSON, or is too long, is not there: an expression that needs it cannot be evaluated."""
    if len(body) <= BODY_BYTES_MAX:
        try:
            values["body"] = json.loads(body.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError):
            pass


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _plain(value: Any) -> Any:
    """A field table's value as the runtime takes it: text that is not UTF-8 becomes bytes, a decimal a double."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value
