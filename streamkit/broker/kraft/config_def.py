"""One configuration key: its type, default and check, and how its text is read.

Values travel and are stored as text; `parse` gives the typed value or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from streamkit.common.errors import ConfigError

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1

ConfigValue = bool | int | float | str | tuple[str, ...] | None
Check = Callable[[ConfigValue], str | None]
"""Says what is wrong with a value, or None."""


class ConfigType(IntEnum):
    """The value types of DescribeConfigs."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


_RANGES = {
    ConfigType.INT: (-(2**31), INT_MAX),
    ConfigType.SHORT: (-(2**15), 2**15 - 1),
    ConfigType.LONG: (-(2**63), LONG_MAX),
}


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """A key with everything that DescribeConfigs and a change of its value need."""

    name: str
    type: ConfigType
    default: str | None
    doc: str
    check: Check | None = None
    synonyms: tuple[tuple[str, int], ...] = ()
    """Broker keys that give the default, strongest first, each with its factor to our unit."""
    is_internal: bool = False
    """Accepted, but not shown unless it is asked for by name."""

    @property
    def is_sensitive(self) -> bool:
        """Whether the value is never shown."""
        return self.type is ConfigType.PASSWORD

    def parse(self, text: str) -> ConfigValue:
        """The typed value. Raises ConfigError that names the key and the reason."""
        try:
            value = _parse(self.type, text)
        except ValueError:
            raise ConfigError(
                f"invalid value {text!r} for configuration {self.name}: "
                f"not a {self.type.name.lower()}"
            ) from None
        problem = self.check(value) if self.check is not None else None
        if problem is not None:
            raise ConfigError(f"invalid value {text!r} for configuration {self.name}: {problem}")
        return value

    @property
    def default_value(self) -> ConfigValue:
        """The typed default."""
        return None if self.default is None else self.parse(self.default)


def parse_list(text: str) -> tuple[str, ...]:
    """The parts of a comma list; an empty text is an empty list."""
    return tuple(part.strip() for part in text.split(",")) if text.strip() else ()


def at_least(minimum: float) -> Check:
    """A number not below `minimum`."""

    def check(value: ConfigValue) -> str | None:
        assert isinstance(value, (int, float)), f"{value!r} is not a number"
        return f"value must be at least {minimum}" if value < minimum else None

    return check


def between(minimum: float, maximum: float) -> Check:
    """A number in a closed range."""

    def check(value: ConfigValue) -> str | None:
        assert isinstance(value, (int, float)), f"{value!r} is not a number"
        is_inside = minimum <= value <= maximum
        return None if is_inside else f"value must be between {minimum} and {maximum}"

    return check


def one_of(choices: Sequence[str]) -> Check:
    """One of some texts, or a list of only such texts, none of them twice."""

    def check(value: ConfigValue) -> str | None:
        given = value if isinstance(value, tuple) else (value,)
        if any(each not in choices for each in given) or len(set(given)) != len(given):
            return f"it must be one of {', '.join(choices)}"
        return None

    return check


def any_of(*checks: Check) -> Check:
    """A value that passes at least one of several checks."""

    def check(value: ConfigValue) -> str | None:
        problems = [each(value) for each in checks]
        if None in problems:
            return None
        return ", or ".join(each for each in problems if each is not None)

    return check


def _parse(kind: ConfigType, text: str) -> ConfigValue:
    if kind is ConfigType.BOOLEAN:
        lowered = text.strip().lower()
        if lowered not in {"true", "false"}:
            raise ValueError(text)
        return lowered == "true"
    if kind in _RANGES:
        number = int(text.strip())
        low, high = _RANGES[kind]
        if not low <= number <= high:
            raise ValueError(text)
        return number
    if kind is ConfigType.DOUBLE:
        return float(text.strip())
    if kind is ConfigType.LIST:
        return parse_list(text)
    return text
