"""Change configurations (IncrementalAlterConfigs and AlterConfigs; ConfigAdminManager,
ConfigurationControlManager): per resource all or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from streamkit.broker.kraft.broker_config import (
    BROKER_CONFIGS,
    DYNAMIC_CONFIGS,
    validate_broker_configs,
)
from streamkit.broker.kraft.config_def import ConfigKey, ConfigType, parse_list
from streamkit.broker.kraft.controller.results import ItemResult, Outcome, check_record_count
from streamkit.broker.kraft.group_config import GROUP_CONFIGS, validate_group_configs
from streamkit.broker.kraft.image import (
    BROKER_RESOURCE,
    GROUP_RESOURCE,
    TOPIC_RESOURCE,
    ConfigResource,
    MetadataImage,
)
from streamkit.broker.kraft.records import ConfigRecord, MetadataRecord
from streamkit.broker.kraft.topic_config import TOPIC_CONFIGS, validate_topic_configs
from streamkit.common.errors import ConfigError
from streamkit.protocol.errors import ApiError, ErrorCode

VALUE_BYTES_MAX = 32767

_KEYS: Mapping[int, Mapping[str, ConfigKey]] = {
    TOPIC_RESOURCE: TOPIC_CONFIGS,
    BROKER_RESOURCE: BROKER_CONFIGS,
    GROUP_RESOURCE: GROUP_CONFIGS,
}

_REFUSED = {BROKER_RESOURCE: ErrorCode.invalid_request}
"""How a value that does not fit is refused, where that is not INVALID_CONFIG."""


class ConfigOp(IntEnum):
    """What to do with a key."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One key of one resource."""

    name: str
    op: int
    value: str | None


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """All changes that a request asks for on one resource."""

    resource: ConfigResource
    changes: tuple[ConfigChange, ...]


AlterConfigsOutcome = Outcome[tuple[tuple[ConfigResource, ItemResult], ...]]


def incremental_alter_configs(
    image: MetadataImage,
    requests: Sequence[ResourceChange],
    *,
    broker_bounds: Mapping[str, object],
    validate_only: bool = False,
) -> AlterConfigsOutcome:
    """Records and results; `broker_bounds` holds the broker's settings by key."""
    counts = Counter(each.resource for each in requests)
    records: list[MetadataRecord] = []
    results: dict[ConfigResource, ItemResult] = {}
    for request in requests:
        try:
            if counts[request.resource] > 1:
                raise ApiError(ErrorCode.invalid_request, "each resource must appear at most once")
            values = _changed_values(image, request)
            _check_values(image, request.resource, values, broker_bounds)
            records += _records(image, request.resource, values)
            results[request.resource] = ItemResult()
        except ApiError as error:
            results[request.resource] = ItemResult.of(error)
        except ConfigError as error:
            code = _REFUSED.get(request.resource.type, ErrorCode.invalid_config)
            results[request.resource] = ItemResult(code, str(error))
    check_record_count(len(records))
    return Outcome(() if validate_only else tuple(records), tuple(results.items()))


def replace_configs(
    image: MetadataImage,
    requests: Sequence[tuple[ConfigResource, Mapping[str, str | None]]],
    *,
    broker_bounds: Mapping[str, object],
    validate_only: bool = False,
) -> AlterConfigsOutcome:
    """The old AlterConfigs: what is not named goes back to its default."""
    changes = [
        ResourceChange(
            resource,
            tuple(ConfigChange(name, ConfigOp.SET, value) for name, value in values.items())
            + tuple(
                ConfigChange(name, ConfigOp.DELETE, None)
                for name in image.configs.get(resource, {})
                if name not in values
            ),
        )
        for resource, values in requests
    ]
    return incremental_alter_configs(
        image, changes, broker_bounds=broker_bounds, validate_only=validate_only
    )


def _changed_values(image: MetadataImage, request: ResourceChange) -> dict[str, str | None]:
    """The new text of each key that is named; None deletes it."""
    _check_request(request)
    current = image.configs.get(request.resource, {})
    return {
        change.name: _new_text(request.resource, change, current.get(change.name))
        for change in request.changes
    }


def _check_request(request: ResourceChange) -> None:
    if request.resource.type not in _KEYS:
        raise ApiError(
            ErrorCode.invalid_request, f"unexpected resource type {request.resource.type}"
        )
    counts = Counter(change.name for change in request.changes)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise ApiError(ErrorCode.invalid_request, f"duplicate config keys: {', '.join(repeated)}")
    for change in request.changes:
        if change.op not in tuple(ConfigOp):
            raise ApiError(ErrorCode.invalid_request, f"unknown operation {change.op}")
        if change.value is None and change.op != ConfigOp.DELETE:
            raise ApiError(ErrorCode.invalid_request, f"null value not supported for {change.name}")
        if len((change.value or "").encode()) > VALUE_BYTES_MAX:
            raise ApiError(
                ErrorCode.invalid_config,
                f"the value of {change.name} is longer than {VALUE_BYTES_MAX} bytes",
            )


def _new_text(resource: ConfigResource, change: ConfigChange, current: str | None) -> str | None:
    if change.op == ConfigOp.SET:
        return change.value
    if change.op == ConfigOp.DELETE:
        return None
    key = _KEYS[resource.type].get(change.name)
    if key is None or key.type is not ConfigType.LIST:
        verb = "append" if change.op == ConfigOp.APPEND else "subtract"
        raise ApiError(
            ErrorCode.invalid_config,
            f"can't {verb} to key {change.name} because its type is not list",
        )
    parts = list(parse_list(current if current is not None else key.default or ""))
    for part in parse_list(change.value or ""):
        if change.op == ConfigOp.SUBTRACT:
            parts = [each for each in parts if each != part]
        elif part not in parts:
            parts.append(part)
    return ",".join(parts)


def _check_values(
    image: MetadataImage,
    resource: ConfigResource,
    values: Mapping[str, str | None],
    broker_bounds: Mapping[str, object],
) -> None:
    merged = {**image.configs.get(resource, {}), **values}
    kept = {name: value for name, value in merged.items() if value is not None}
    if resource.type == TOPIC_RESOURCE:
        _check_topic_exists(image, resource.name)
        validate_topic_configs(kept)
    elif resource.type == BROKER_RESOURCE:
        _check_broker_exists(image, resource.name)
        static = [name for name in values if name in BROKER_CONFIGS and name not in DYNAMIC_CONFIGS]
        if static:
            raise ApiError(
                ErrorCode.invalid_request, f"cannot update these configs dynamically: {static}"
            )
        validate_broker_configs(kept)
    else:
        if not resource.name:
            raise ApiError(ErrorCode.invalid_request, "default group resources are not allowed")
        validate_group_configs(kept, broker_bounds)


def _check_topic_exists(image: MetadataImage, name: str) -> None:
    if not name:
        raise ApiError(ErrorCode.invalid_request, "default topic resources are not allowed")
    if name not in image.topics:
        raise ApiError(ErrorCode.unknown_topic_or_partition, f"the topic '{name}' does not exist")


def _check_broker_exists(image: MetadataImage, name: str) -> None:
    if not name:
        return
    if not name.isascii() or not name.isdigit():
        raise ApiError(ErrorCode.invalid_request, f"{name!r} is not the number of a broker")
    if int(name) not in image.brokers:
        raise ApiError(ErrorCode.broker_id_not_registered, f"no broker with id {name} found")


def _records(
    image: MetadataImage, resource: ConfigResource, values: Mapping[str, str | None]
) -> list[MetadataRecord]:
    current = image.configs.get(resource, {})
    return [
        ConfigRecord(
            resource_type=resource.type, resource_name=resource.name, name=name, value=value
        )
        for name, value in values.items()
        if value != current.get(name)
    ]
