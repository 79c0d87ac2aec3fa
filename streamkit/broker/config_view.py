"""Configurations as DescribeConfigs shows them: each value with where it comes from.

Pure. Two lists look alike. `places` has every value a key could take, the one in force first: a
stronger synonym in a weaker layer stands before a weaker synonym in a stronger layer. `synonyms`
is what Kafka's ConfigHelper tells: layer by layer, and nothing before the key's own broker name.
So retention.ms that log.retention.hours decides has no synonyms, and is told to be a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import dropwhile

from streamkit.broker.kraft.broker_config import BROKER_CONFIGS, DYNAMIC_CONFIGS
from streamkit.broker.kraft.config_def import ConfigKey
from streamkit.broker.kraft.group_config import GROUP_CONFIGS
from streamkit.broker.kraft.topic_config import TOPIC_CONFIGS


class ConfigSource(IntEnum):
    """Where a value comes from; the numbers are the protocol's."""

    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT = 3
    STATIC = 4
    DEFAULT = 5
    GROUP = 8


@dataclass(frozen=True, slots=True)
class BrokerLayers:
    """The broker's configurations as text, strongest first."""

    dynamic: Mapping[str, str]
    dynamic_default: Mapping[str, str]
    static: Mapping[str, str]

    def in_order(self) -> tuple[tuple[ConfigSource, Mapping[str, str]], ...]:
        return (
            (ConfigSource.DYNAMIC_BROKER, self.dynamic),
            (ConfigSource.DYNAMIC_DEFAULT, self.dynamic_default),
            (ConfigSource.STATIC, self.static),
        )


@dataclass(frozen=True, slots=True)
class Synonym:
    """One place that has a value."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One key of one resource."""

    key: ConfigKey
    places: tuple[Synonym, ...]
    synonyms: tuple[Synonym, ...]
    is_read_only: bool

    @property
    def value(self) -> str | None:
        """What is in force, in this key's unit; never shown of a sensitive key."""
        if self.key.is_sensitive:
            return None
        if not self.places:
            return self.key.default
        first = self.places[0]
        factor = dict(self.key.synonyms).get(first.name, 1)
        if factor == 1 or first.value is None:
            return first.value
        number = int(first.value)
        return str(number * factor if number >= 0 else -1)

    @property
    def source(self) -> ConfigSource:
        """Where the value in force comes from."""
        return _first_source(self.places)

    @property
    def told_source(self) -> ConfigSource:
        """Where DescribeConfigs says that it comes from."""
        return _first_source(self.synonyms)


def topic_entries(own: Mapping[str, str], layers: BrokerLayers) -> list[ConfigEntry]:
    """Every topic configuration."""
    return [
        _inheriting(key, own, ConfigSource.TOPIC, layers)
        for key in TOPIC_CONFIGS.values()
        if not key.is_internal or key.name in own
    ]


def group_entries(own: Mapping[str, str], layers: BrokerLayers) -> list[ConfigEntry]:
    """Every group configuration."""
    return [_inheriting(key, own, ConfigSource.GROUP, layers) for key in GROUP_CONFIGS.values()]


def broker_entries(layers: BrokerLayers) -> list[ConfigEntry]:
    """Every configuration of this broker."""
    named = {name for _, layer in layers.in_order() for name in layer}
    return [
        ConfigEntry(
            key,
            tuple(_layered((key.name,), layers, key.default)),
            _after(key.name, _layered(_siblings(key.name), layers, key.default)),
            key.name not in DYNAMIC_CONFIGS,
        )
        for key in BROKER_CONFIGS.values()
        if not key.is_internal or key.name in named
    ]


def default_broker_entries(layers: BrokerLayers) -> list[ConfigEntry]:
    """What was set for all brokers while they ran."""
    entries = []
    for name, value in sorted(layers.dynamic_default.items()):
        synonyms = (Synonym(name, value, ConfigSource.DYNAMIC_DEFAULT),)
        entries.append(ConfigEntry(BROKER_CONFIGS[name], synonyms, synonyms, False))
    return entries


def _inheriting(
    key: ConfigKey, own: Mapping[str, str], source: ConfigSource, layers: BrokerLayers
) -> ConfigEntry:
    """A key with the broker's values of its synonyms behind its own."""
    names = tuple(name for name, _ in key.synonyms)
    first = [Synonym(key.name, own[key.name], source)] if key.name in own else []
    by_name = [place for name in names for place in _layered((name,), layers, key.default)]
    by_layer = _after(names[0], _layered(names, layers, key.default)) if names else ()
    return ConfigEntry(key, (*first, *by_name), (*first, *by_layer), False)


def _layered(
    names: tuple[str, ...], layers: BrokerLayers, default: str | None
) -> Iterator[Synonym]:
    """All values of some broker keys, layer by layer; `default` is that of unknown keys."""
    for source, layer in layers.in_order():
        for name in names:
            if name in layer:
                yield Synonym(name, layer[name], source)
    for name in names:
        value = BROKER_CONFIGS[name].default if name in BROKER_CONFIGS else default
        if value is not None:
            yield Synonym(name, value, ConfigSource.DEFAULT)


def _after(name: str, synonyms: Iterator[Synonym]) -> tuple[Synonym, ...]:
    """From the first synonym of that name on, as Kafka tells them."""
    return tuple(dropwhile(lambda each: each.name != name, synonyms))


def _siblings(name: str) -> tuple[str, ...]:
    """The broker keys that say the same in other units, strongest first."""
    for key in TOPIC_CONFIGS.values():
        names = tuple(each for each, _ in key.synonyms)
        if name in names:
            return names
    return (name,)


def _first_source(synonyms: tuple[Synonym, ...]) -> ConfigSource:
    return synonyms[0].source if synonyms else ConfigSource.DEFAULT
