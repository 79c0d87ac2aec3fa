"""Create topics, delete topics, add partitions (ReplicationControlManager, ControllerApis).

Good and bad items of one request are told apart: the good ones take effect, each bad one is
answered with its own error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from streamkit.broker.kraft.controller.placement import directories_of, place_replicas
from streamkit.broker.kraft.controller.results import ItemResult, Outcome, check_record_count
from streamkit.broker.kraft.image import TOPIC_RESOURCE, MetadataImage, TopicImage
from streamkit.broker.kraft.records import (
    ConfigRecord,
    MetadataRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from streamkit.broker.kraft.topic_config import validate_topic_configs
from streamkit.common.errors import ConfigError
from streamkit.protocol.errors import ApiError, ErrorCode

TOPIC_NAME_LENGTH_MAX = 249
METADATA_TOPIC = "__cluster_metadata"
INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")

Assignment = tuple[int, tuple[int, ...]]
"""A partition number and its replicas."""


@dataclass(frozen=True, slots=True)
class NewTopic:
    """One topic of a CreateTopics request; -1 asks for the broker's default."""

    name: str
    partitions: int = -1
    replication_factor: int = -1
    assignments: tuple[Assignment, ...] = ()
    configs: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class TopicDefaults:
    """What a request leaves open."""

    partitions: int = 1
    replication_factor: int = 1


@dataclass(frozen=True, slots=True)
class CreatedTopic:
    """The answer for one topic; the id is None unless it was created."""

    name: str
    result: ItemResult
    topic_id: UUID | None = None
    partitions: int = -1
    replication_factor: int = -1
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeletedTopic:
    """The answer for one topic of a DeleteTopics request."""

    name: str | None
    topic_id: UUID | None
    result: ItemResult


@dataclass(frozen=True, slots=True)
class MorePartitions:
    """One topic of a CreatePartitions request; `assignments` for the added ones, or None."""

    name: str
    count: int
    assignments: tuple[tuple[int, ...], ...] | None = None


def is_internal(topic: str) -> bool:
    """Whether the broker keeps its own state in this topic."""
    return topic in INTERNAL_TOPICS


def topic_name_problem(name: str) -> str | None:
    """Why a topic may not have this name; None when it may."""
    if not name:
        return "the empty string is not allowed"
    if name in {".", ".."}:
        return f"'{name}' is not allowed"
    if len(name) > TOPIC_NAME_LENGTH_MAX:
        return f"the length of '{name}' is longer than {TOPIC_NAME_LENGTH_MAX}"
    if not _LEGAL_NAME.fullmatch(name):
        return f"'{name}' has characters other than ASCII letters, digits, '.', '_' and '-'"
    return None


def create_topics(
    image: MetadataImage,
    topics: Sequence[NewTopic],
    *,
    defaults: TopicDefaults,
    topic_ids: Sequence[UUID],
    placement_start: int = 0,
    validate_only: bool = False,
) -> Outcome[tuple[CreatedTopic, ...]]:
    """Records and results for a CreateTopics request.

    `topic_ids` holds a fresh random id for each topic, `placement_start` a random number that
    spreads the first replicas. Raises ApiError POLICY_VIOLATION when it would be too much.
    """
    counts = Counter(topic.name for topic in topics)
    collisions = _collisions(image)
    records: list[MetadataRecord] = []
    answers: dict[str, CreatedTopic] = {}
    for topic, topic_id in zip(topics, topic_ids, strict=True):
        if topic.name in answers:
            continue
        try:
            _check_name(image, topic.name, counts, collisions)
            made, answer = _create_topic(image, topic, topic_id, defaults, placement_start)
        except ApiError as error:
            answers[topic.name] = CreatedTopic(topic.name, ItemResult.of(error))
            continue
        collisions.setdefault(_unified(topic.name), topic.name)
        records += made
        answers[topic.name] = answer
        placement_start += answer.partitions
    check_record_count(len(records))
    return Outcome(() if validate_only else tuple(records), tuple(answers.values()))


def delete_topics(
    image: MetadataImage, topics: Sequence[tuple[str | None, UUID | None]], *, is_enabled: bool
) -> Outcome[tuple[DeletedTopic, ...]]:
    """Records and results for a DeleteTopics request, whose items are names or ids."""
    if not is_enabled:
        raise ApiError(ErrorCode.topic_deletion_disabled, "delete.topic.enable is false")
    repeated = _repeated(image, topics)
    records: list[MetadataRecord] = []
    answers: list[DeletedTopic] = []
    for name, topic_id in topics:
        try:
            topic = _find(image, name, topic_id)
            if topic.id in repeated:
                raise ApiError(ErrorCode.invalid_request, "the topic is named more than once")
        except ApiError as error:
            answers.append(DeletedTopic(name, topic_id, ItemResult.of(error)))
            continue
        records.append(RemoveTopicRecord(topic_id=topic.id))
        answers.append(DeletedTopic(topic.name, topic.id, ItemResult()))
    return Outcome(tuple(records), tuple(answers))


def create_partitions(
    image: MetadataImage,
    topics: Sequence[MorePartitions],
    *,
    placement_start: int = 0,
    validate_only: bool = False,
) -> Outcome[tuple[tuple[str, ItemResult], ...]]:
    """Records and results for a CreatePartitions request."""
    counts = Counter(topic.name for topic in topics)
    records: list[MetadataRecord] = []
    answers: dict[str, ItemResult] = {}
    for topic in topics:
        try:
            if counts[topic.name] > 1:
                raise ApiError(ErrorCode.invalid_request, "duplicate topic name")
            records += _add_partitions(image, topic, placement_start)
            answers[topic.name] = ItemResult()
        except ApiError as error:
            answers[topic.name] = ItemResult.of(error)
    check_record_count(len(records))
    return Outcome(() if validate_only else tuple(records), tuple(answers.items()))


def _check_name(
    image: MetadataImage, name: str, counts: Counter[str], collisions: Mapping[str, str]
) -> None:
    if counts[name] > 1:
        raise ApiError(ErrorCode.invalid_request, "duplicate topic name")
    if name == METADATA_TOPIC:
        raise ApiError(
            ErrorCode.invalid_request, f"creation of internal topic {METADATA_TOPIC} is prohibited"
        )
    if name in image.topics:
        raise ApiError(ErrorCode.topic_already_exists, f"topic '{name}' already exists")
    problem = topic_name_problem(name)
    if problem is not None:
        raise ApiError(ErrorCode.invalid_topic_exception, f"topic name is invalid: {problem}")
    if _unified(name) in collisions and ("." in name or "_" in name):
        other = collisions[_unified(name)]
        raise ApiError(
            ErrorCode.invalid_topic_exception, f"topic '{name}' collides with topic '{other}'"
        )


def _unified(name: str) -> str:
    return name.replace(".", "_")


def _collisions(image: MetadataImage) -> dict[str, str]:
    return {_unified(name): name for name in image.topics if "." in name or "_" in name}


def _create_topic(
    image: MetadataImage, topic: NewTopic, topic_id: UUID, defaults: TopicDefaults, start: int
) -> tuple[list[MetadataRecord], CreatedTopic]:
    configs = _checked_configs(topic.configs)
    replica_lists = (
        _assigned(image, topic) if topic.assignments else _placed(image, topic, defaults, start)
    )
    records: list[MetadataRecord] = [TopicRecord(name=topic.name, topic_id=topic_id)]
    records += [
        ConfigRecord(resource_type=TOPIC_RESOURCE, resource_name=topic.name, name=name, value=value)
        for name, value in configs.items()
    ]
    records += [
        new_partition(image, topic_id, index, replicas)
        for index, replicas in enumerate(replica_lists)
    ]
    answer = CreatedTopic(
        topic.name, ItemResult(), topic_id, len(replica_lists), len(replica_lists[0]), configs
    )
    return records, answer


def _checked_configs(pairs: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    missing = [name for name, value in pairs if value is None]
    if missing:
        raise ApiError(
            ErrorCode.invalid_config, f"null value not supported for {', '.join(missing)}"
        )
    configs = {name: value for name, value in pairs if value is not None}
    try:
        validate_topic_configs(configs)
    except ConfigError as error:
        raise ApiError(ErrorCode.invalid_config, str(error)) from None
    return configs


def _placed(
    image: MetadataImage, topic: NewTopic, defaults: TopicDefaults, start: int
) -> list[tuple[int, ...]]:
    if topic.replication_factor < -1 or topic.replication_factor == 0:
        raise ApiError(
            ErrorCode.invalid_replication_factor,
            "replication factor must be larger than 0, or -1 for the default",
        )
    if topic.partitions < -1 or topic.partitions == 0:
        raise ApiError(
            ErrorCode.invalid_partitions,
            "number of partitions must be larger than 0, or -1 for the default",
        )
    count = defaults.partitions if topic.partitions == -1 else topic.partitions
    factor = (
        defaults.replication_factor if topic.replication_factor == -1 else topic.replication_factor
    )
    # Counted before placing: a request for a billion partitions must not take the memory.
    check_record_count(count)
    return place_replicas(image, count, factor, start)


def _assigned(image: MetadataImage, topic: NewTopic) -> list[tuple[int, ...]]:
    if topic.replication_factor != -1 or topic.partitions != -1:
        raise ApiError(
            ErrorCode.invalid_request,
            "with a manual assignment, partitions and replication factor must be -1",
        )
    by_index = dict(topic.assignments)
    if len(by_index) != len(topic.assignments):
        raise ApiError(
            ErrorCode.invalid_replica_assignment, "a partition is assigned more than once"
        )
    if sorted(by_index) != list(range(len(by_index))):
        raise ApiError(
            ErrorCode.invalid_replica_assignment,
            "partitions should be a consecutive 0-based integer sequence",
        )
    factor = len(by_index[0])
    for index, replicas in by_index.items():
        check_assignment(image, replicas, factor, index)
    return [by_index[index] for index in range(len(by_index))]


def check_assignment(
    image: MetadataImage, replicas: tuple[int, ...], factor: int, partition: int
) -> None:
    """Raise INVALID_REPLICA_ASSIGNMENT unless the replicas are `factor` known, distinct brokers,
    one of them usable."""
    problem = None
    unknown = [each for each in replicas if each not in image.brokers]
    if not replicas:
        problem = "an empty replica list"
    elif unknown:
        problem = f"broker {unknown[0]}, which is not registered"
    elif len(set(replicas)) != len(replicas):
        problem = "the same broker more than once"
    elif len(replicas) != factor:
        problem = f"{len(replicas)} replica(s), but this topic has {factor}"
    elif not any(image.brokers[each].is_usable for each in replicas):
        problem = "only brokers that are fenced or in controlled shutdown"
    if problem is not None:
        raise ApiError(
            ErrorCode.invalid_replica_assignment,
            f"the manual assignment of partition {partition} has {problem}",
        )


def new_partition(
    image: MetadataImage, topic_id: UUID, index: int, replicas: tuple[int, ...]
) -> PartitionRecord:
    """The record of a new partition: usable replicas are in sync, the first of them leads."""
    isr = tuple(each for each in replicas if image.brokers[each].is_usable)
    assert isr, f"partition {index} of {topic_id} has no usable replica"
    return PartitionRecord(
        partition_id=index,
        topic_id=topic_id,
        replicas=replicas,
        isr=isr,
        leader=isr[0],
        leader_epoch=0,
        partition_epoch=0,
        directories=directories_of(image, replicas),
    )


def _find(image: MetadataImage, name: str | None, topic_id: UUID | None) -> TopicImage:
    if (name is None) == (topic_id is None):
        raise ApiError(ErrorCode.invalid_request, "a topic is named either by name or by id")
    if topic_id is not None:
        found = image.topics_by_id.get(topic_id)
        if found is None:
            raise ApiError(ErrorCode.unknown_topic_id)
        return found
    found = image.topics.get(name or "")
    if found is None:
        raise ApiError(ErrorCode.unknown_topic_or_partition)
    return found


def _repeated(
    image: MetadataImage, topics: Sequence[tuple[str | None, UUID | None]]
) -> frozenset[UUID]:
    counts: Counter[UUID] = Counter()
    for name, topic_id in topics:
        topic = image.topics.get(name) if name is not None else None
        named = topic_id or (topic.id if topic else None)
        if named is not None:
            counts[named] += 1
    return frozenset(each for each, count in counts.items() if count > 1)


def _add_partitions(
    image: MetadataImage, request: MorePartitions, start: int
) -> list[MetadataRecord]:
    topic = _find(image, request.name, None)
    present = len(topic.partitions)
    if request.count <= present:
        raise ApiError(
            ErrorCode.invalid_partitions,
            f"the topic has {present} partition(s); {request.count} would not be an increase",
        )
    added = request.count - present
    check_record_count(added)
    factor = len(topic.partitions[0].replicas)
    if request.assignments is None:
        replica_lists = place_replicas(image, added, factor, start + present)
    elif len(request.assignments) != added:
        raise ApiError(
            ErrorCode.invalid_replica_assignment,
            f"{added} partition(s) are added, {len(request.assignments)} assignment(s) given",
        )
    else:
        replica_lists = list(request.assignments)
        for offset, replicas in enumerate(replica_lists):
            check_assignment(image, replicas, factor, present + offset)
    return [
        new_partition(image, topic.id, present + offset, replicas)
        for offset, replicas in enumerate(replica_lists)
    ]
