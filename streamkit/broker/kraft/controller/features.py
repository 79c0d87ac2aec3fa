"""Change finalized feature levels (UpdateFeatures, FeatureControlManager): all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from streamkit.broker.kraft.controller.results import ItemResult, Outcome
from streamkit.broker.kraft.features import (
    FEATURES,
    KRAFT_VERSION,
    METADATA_VERSION,
    METADATA_VERSION_MIN,
    supported_features,
)
from streamkit.broker.kraft.image import MetadataImage
from streamkit.broker.kraft.records import FeatureLevelRecord, FeatureRange
from streamkit.protocol.errors import ApiError, ErrorCode


class UpgradeType(IntEnum):
    """What the caller allows to happen to a level."""

    UNKNOWN = 0
    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


@dataclass(frozen=True, slots=True)
class FeatureUpdate:
    """One feature of the request and the level wanted; 0 removes it."""

    name: str
    level: int
    upgrade_type: int = UpgradeType.UPGRADE


def update_features(
    image: MetadataImage, updates: Sequence[FeatureUpdate], *, validate_only: bool = False
) -> Outcome[ItemResult]:
    """Records for all updates, or none and the first problem."""
    try:
        for update in updates:
            _check(image, update)
    except ApiError as error:
        return Outcome((), ItemResult.of(error))
    records = tuple(
        FeatureLevelRecord(name=update.name, feature_level=update.level) for update in updates
    )
    return Outcome(() if validate_only else records, ItemResult())


def _check(image: MetadataImage, update: FeatureUpdate) -> None:
    current = image.features.get(update.name, 0)
    problem = (
        _type_problem(update, current)
        or _support_problem(image, update)
        or _downgrade_problem(update, current)
    )
    if problem is not None:
        raise ApiError(
            ErrorCode.invalid_update_version,
            f"invalid update version {update.level} for feature {update.name}: {problem}",
        )


def _type_problem(update: FeatureUpdate, current: int) -> str | None:
    if update.name not in FEATURES:
        return "there is no such feature"
    is_upgrade = update.upgrade_type == UpgradeType.UPGRADE
    if update.upgrade_type not in tuple(UpgradeType)[1:]:
        return "the upgrade type is not supported"
    if update.level < 0:
        return "a level cannot be below 0"
    if update.level < current and is_upgrade:
        return "a downgrade needs the upgrade type safe or unsafe downgrade"
    if update.level > current and not is_upgrade:
        return "a downgrade cannot lead to a newer version"
    return None


def _support_problem(image: MetadataImage, update: FeatureUpdate) -> str | None:
    ranges = {"this controller": supported_features().get(update.name, (0, 0))}
    for broker in image.brokers.values():
        ranges[f"broker {broker.id}"] = _range(broker.features, update.name)
    for controller in image.controllers.values():
        name = f"controller {controller.controller_id}"
        ranges[name] = _range(controller.features, update.name)
    for who, (low, high) in ranges.items():
        if update.level != 0 and not low <= update.level <= high:
            return f"{who} supports {low} to {high} only"
    return None


def _range(features: Sequence[FeatureRange], name: str) -> tuple[int, int]:
    for each in features:
        if each.name == name:
            return each.min_supported_version, each.max_supported_version
    return 0, 0


def _downgrade_problem(update: FeatureUpdate, current: int) -> str | None:
    """Records of newer metadata versions cannot be rewritten into older forms."""
    if update.name == KRAFT_VERSION and update.level != current:
        return "kraft.version changes by a control record only"
    if update.name == METADATA_VERSION and update.level < current:
        if update.upgrade_type == UpgradeType.UNSAFE_DOWNGRADE:
            return "unsafe downgrades are not supported"
        return f"versions between {METADATA_VERSION_MIN} and {current} changed the metadata"
    return None
