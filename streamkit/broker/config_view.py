"""Configurations as DescribeConfigs shows them: each value with where it comes from.

Pure. The synonyms of a key are all places that have a value for it, strongest first; the first
of them is the effective one (Kafka's ConfigHelper and ServerTopicConfigSynonyms).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

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
    synonyms: tuple[Synonym, ...]
    is_read_only: bool

    @property
    def value(self) -> str | None:
        """What is in force, in this key's unit; never shown of a sensitive key."""
        if self.key.is_sensitive:
            return None
        if not self.synonyms:
            return self.key.default
        first = self.synonyms[0]
        factor = dict(self.key.synonyms).get(first.name, 1)
        if factor == 1 or first.value is None:
            return first.value
        number = int(first.value)
        return str(number * factor if number >= 0 else -1)

    @property
    def source(self) -> ConfigSource:
        """Where the value in force comes from."""
        return self.synonyms[0].source if self.synonyms else ConfigSource.DEFAULT


def topic_entries(own: Mapping[str, str], layers: BrokerLayers) -> list[ConfigEntry]:
    """Every topic configuration."""
    return [
        ConfigEntry(key, tuple(_inherited(key, own, ConfigSource.TOPIC, layers)), False)
        for key in TOPIC_CONFIGS.values()
        if not key.is_internal or key.name in own
    ]


def group_entries(own: Mapping[str, str], layers: BrokerLayers) -> list[ConfigEntry]:
    """Every group configuration."""
    return [
        ConfigEntry(key, tuple(_inherited(key, own, ConfigSource.GROUP, layers)), False)
        for key in GROUP_CONFIGS.values()
    ]


def broker_entries(layers: BrokerLayers) -> list[ConfigEntry]:
    """Every configuration of this broker."""
    return [
        ConfigEntry(key, tuple(_own(key, layers)), key.name not in DYNAMIC_CONFIGS)
        for key in BROKER_CONFIGS.values()
    ]


def default_broker_entries(layers: BrokerLayers) -> list[ConfigEntry]:
    """What was set for all brokers while they ran."""
    return [
        ConfigEntry(
            BROKER_CONFIGS[name], (Synonym(name, value, ConfigSource.DYNAMIC_DEFAULT),), False
        )
        for name, value in sorted(layers.dynamic_default.items())
    ]


def _inherited(
    key: ConfigKey, own: Mapping[str, str], source: ConfigSource, layers: BrokerLayers
) -> Iterator[Synonym]:
    if key.name in own:
        yield Synonym(key.name, own[key.name], source)
    for name, _ in key.synonyms:
        for layer_source, layer in layers.in_order():
            if name in layer:
                yield Synonym(name, layer[name], layer_source)
    if key.synonyms:
        last = key.synonyms[-1][0]
        default = BROKER_CONFIGS[last].default if last in BROKER_CONFIGS else None
        if default is not None:
            yield Synonym(last, default, ConfigSource.DEFAULT)
    elif key.default is not None:
        yield Synonym(key.name, key.default, ConfigSource.DEFAULT)


def _own(key: ConfigKey, layers: BrokerLayers) -> Iterator[Synonym]:
    for source, layer in layers.in_order():
        if key.name in layer:
            yield Synonym(key.name, layer[key.name], source)
    if key.default is not None:
        yield Synonym(key.name, key.default, ConfigSource.DEFAULT)
