"""Reading definitions: each field is what it should be, or the error says where in the file it is not."""

from collections.abc import Mapping
from typing import Any, Final

from mansio.codec.amqp_values import encode_shortstr
from mansio.core.errors import BadValue

_REQUIRED: Final = object()


class Fields:
    """One object of a definitions file. `where`: which one, for errors."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            raise BadValue(f"{where}: must be an object")
        self.values: dict[str, Any] = values
        self.where = where

    def name(self, key: str, default: Any = _REQUIRED) -> str:
        """A text that fits a short string of the wire."""
        value = self.text(key, default)
        try:
            encode_shortstr(value)
        except ValueError:
            raise self.fault(key, "a text of up to 255 bytes") from None
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.fault(key, "a text")
        return value

    def secret(self, key: str, default: Any = _REQUIRED) -> str:
        """A text that no error shows."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise BadValue(f"{self.where}: '{key}' must be a text")
        return value

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(key, "a whole number")
        return value

    def object(self, key: str, default: Any = _REQUIRED) -> dict[str, Any]:
        """An object, also as a list of pairs: so RabbitMQ 3.10.8 writes some."""
        value = self._value(key, default)
        if isinstance(value, list) and all(_is_pair(each) for each in value):
            value = dict(value)
        if not isinstance(value, dict):
            raise self.fault(key, "an object")
        return value

    def tags(self, key: str) -> tuple[str, ...]:
        """A list of words, also as a text with commas: so RabbitMQ wrote them up to 3.8."""
        value = self._value(key, [])
        if isinstance(value, str):
            value = [each.strip() for each in value.split(",") if each.strip()]
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.fault(key, "a list of texts")
        return tuple(value)

    def fault(self, key: str, wanted: str) -> BadValue:
        """What is said of a value that cannot be used."""
        return BadValue(
            f"{self.where}: '{key}' must be {wanted}, not {shown(self.values.get(key))}"
        )

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key, default)
        if value is _REQUIRED:
            raise BadValue(f"{self.where}: '{key}' is missing")
        return value


def section(document: Mapping[str, Any], key: str, vhost: str | None = None) -> list[Fields]:
    """The objects of one section of the file; none if it is not there. `vhost`: of all, whatever they name."""
    values = document.get(key, [])
    if not isinstance(values, list):
        raise BadValue(f"{key}: must be a list, not {shown(values)}")
    found = [Fields(value, f"{key}[{i}]") for i, value in enumerate(values)]
    if vhost is not None:
        for fields in found:
            fields.values = {**fields.values, "vhost": vhost}
    return found


def shown(value: Any) -> str:
    """A value as an error shows it: never long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
