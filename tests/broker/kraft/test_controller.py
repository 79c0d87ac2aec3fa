"""The controller's decisions and the image that its records make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from streamkit.broker.kraft import controller as c
from streamkit.broker.kraft import records as r
from streamkit.broker.kraft.broker_config import BROKER_CONFIGS
from streamkit.broker.kraft.image import ConfigResource, MetadataImage
from streamkit.protocol.errors import ApiError, ErrorCode

BOUNDS = {name: key.default_value for name, key in BROKER_CONFIGS.items()}


def ident(number: int) -> UUID:
    return UUID(int=1_000_000 + number)


def replayed(image: MetadataImage, records: Sequence[r.MetadataRecord]) -> MetadataImage:
    return image.apply(records, offset=image.offset + len(records), epoch=3)[0]


def registration(broker: int, incarnation: int = 1, rack: str | None = None) -> c.Registration:
    endpoint = r.Endpoint(name="PLAINTEXT", host="h", port=9092 + broker, security_protocol=0)
    return c.Registration(
        broker, ident(100 * broker + incarnation), (endpoint,), (ident(10_000 + broker),), rack
    )


def cluster(*brokers: int) -> MetadataImage:
    image = MetadataImage(offset=20)
    for broker in brokers:
        offset = image.offset + 1
        outcome = c.register_broker(
            image, registration(broker), next_offset=offset, has_session=False
        )
        image = replayed(image, outcome.records)
        image = replayed(image, c.unfence_broker(image, broker, outcome.response).records)
    return image


def create(image: MetadataImage, *topics: c.NewTopic, **options: Any) -> Any:
    ids = [ident(each) for each in range(len(topics))]
    return c.create_topics(image, topics, defaults=c.TopicDefaults(4, 1), topic_ids=ids, **options)


def with_topic(image: MetadataImage, topic: c.NewTopic) -> MetadataImage:
    outcome = create(image, topic)
    assert outcome.response[0].result.is_ok, outcome.response
    return replayed(image, outcome.records)


def codes(outcome: Any) -> list[str]:
    return [each.result.code.name for each in outcome.response]


def test_created_topic_is_in_the_image_by_name_and_id() -> None:
    topic = c.NewTopic("words", 3, 1, configs=(("cleanup.policy", "compact"),))
    image = with_topic(cluster(7), topic)
    found = image.topics["words"]
    assert image.topics_by_id[found.id] == found
    assert list(found.partitions) == [0, 1, 2]
    assert found.partitions[2].leader == 7
    assert found.partitions[2].directories == (ident(10_007),)
    assert image.topic_configs("words") == {"cleanup.policy": "compact"}


def test_defaults_stand_in_for_minus_one() -> None:
    image = with_topic(cluster(7), c.NewTopic("words"))
    assert len(image.topics["words"].partitions) == 4


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (c.NewTopic(""), "invalid_topic_exception"),
        (c.NewTopic("."), "invalid_topic_exception"),
        (c.NewTopic("a b"), "invalid_topic_exception"),
        (c.NewTopic("x" * 250), "invalid_topic_exception"),
        (c.NewTopic("a_b"), "invalid_topic_exception"),
        (c.NewTopic("a.b"), "topic_already_exists"),
        (c.NewTopic("__cluster_metadata"), "invalid_request"),
        (c.NewTopic("t", 0), "invalid_partitions"),
        (c.NewTopic("t", -2), "invalid_partitions"),
        (c.NewTopic("t", 20_000), "policy_violation"),
        (c.NewTopic("t", 2, 0), "invalid_replication_factor"),
        (c.NewTopic("t", 2, 3), "invalid_replication_factor"),
        (c.NewTopic("t", 2, -1, ((0, (7,)),)), "invalid_request"),
        (c.NewTopic("t", -1, 2, ((0, (7,)),)), "invalid_request"),
        (c.NewTopic("t", assignments=((1, (7,)),)), "invalid_replica_assignment"),
        (c.NewTopic("t", assignments=((0, (7,)), (0, (8,)))), "invalid_replica_assignment"),
        (c.NewTopic("t", assignments=((0, (7, 7)),)), "invalid_replica_assignment"),
        (c.NewTopic("t", assignments=((0, (9,)),)), "invalid_replica_assignment"),
        (c.NewTopic("t", assignments=((0, ()),)), "invalid_replica_assignment"),
        (c.NewTopic("t", assignments=((0, (7,)), (1, (7, 8)))), "invalid_replica_assignment"),
        (c.NewTopic("t", configs=(("nonsense", "1"),)), "invalid_config"),
        (c.NewTopic("t", configs=(("retention.ms", "soon"),)), "invalid_config"),
        (c.NewTopic("t", configs=(("retention.ms", "-2"),)), "invalid_config"),
        (c.NewTopic("t", configs=(("retention.ms", None),)), "invalid_config"),
        (c.NewTopic("t", configs=(("segment.bytes", "1048575"),)), "invalid_config"),
    ],
)
def test_bad_topic_is_refused_and_a_good_one_beside_it_created(
    topic: c.NewTopic, code: str
) -> None:
    image = with_topic(cluster(7, 8), c.NewTopic("a.b"))
    outcome = create(image, topic, c.NewTopic("good", 2, 2))
    assert codes(outcome) == [code, "none"]
    assert list(replayed(image, outcome.records).topics) == ["a.b", "good"]


def test_topic_named_twice_is_refused_once() -> None:
    outcome = create(cluster(7), c.NewTopic("t"), c.NewTopic("t"))
    assert codes(outcome) == ["invalid_request"]
    assert outcome.records == ()


def test_names_of_one_request_collide_too() -> None:
    assert codes(create(cluster(7), c.NewTopic("a.b"), c.NewTopic("a_b"))) == [
        "none",
        "invalid_topic_exception",
    ]


def test_validate_only_answers_without_records() -> None:
    outcome = create(cluster(7), c.NewTopic("t", 2), validate_only=True)
    assert codes(outcome) == ["none"]
    assert outcome.records == ()


def test_replicas_are_striped_over_brokers() -> None:
    outcome = create(cluster(7, 8, 9), c.NewTopic("t", 3, 2), placement_start=2)
    partitions = [each for each in outcome.records if isinstance(each, r.PartitionRecord)]
    assert [each.replicas for each in partitions] == [(9, 7), (7, 8), (8, 9)]


def test_delete_by_name_and_by_id_drops_configs() -> None:
    image = with_topic(cluster(7), c.NewTopic("t", configs=(("retention.ms", "77"),)))
    topic_id = image.topics["t"].id
    outcome = c.delete_topics(
        image, [("t", None), (None, ident(99)), ("u", None), (None, None)], is_enabled=True
    )
    assert codes(outcome) == [
        "none",
        "unknown_topic_id",
        "unknown_topic_or_partition",
        "invalid_request",
    ]
    after, delta = image.apply(outcome.records, offset=image.offset + 1, epoch=3)
    assert after.topics == {}
    assert after.configs == {}
    assert delta.topics_deleted == {topic_id: "t"}


def test_topic_deleted_by_name_and_id_at_once_is_refused() -> None:
    image = with_topic(cluster(7), c.NewTopic("t"))
    topic_id = image.topics["t"].id
    outcome = c.delete_topics(image, [("t", None), (None, topic_id)], is_enabled=True)
    assert codes(outcome) == ["invalid_request", "invalid_request"]


def test_deletion_can_be_disabled() -> None:
    with pytest.raises(ApiError) as raised:
        c.delete_topics(cluster(7), [("t", None)], is_enabled=False)
    assert raised.value.code is ErrorCode.topic_deletion_disabled


def test_partitions_are_added_after_the_present_ones() -> None:
    image = with_topic(cluster(7), c.NewTopic("t", 2))
    outcome = c.create_partitions(image, [c.MorePartitions("t", 5)])
    assert list(replayed(image, outcome.records).topics["t"].partitions) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (c.MorePartitions("t", 2), "invalid_partitions"),
        (c.MorePartitions("t", 1), "invalid_partitions"),
        (c.MorePartitions("u", 3), "unknown_topic_or_partition"),
        (c.MorePartitions("t", 4, ((7,),)), "invalid_replica_assignment"),
        (c.MorePartitions("t", 3, ((8,),)), "invalid_replica_assignment"),
    ],
)
def test_bad_partition_count_is_refused(request_: c.MorePartitions, code: str) -> None:
    image = with_topic(cluster(7), c.NewTopic("t", 2))
    [(_, result)] = c.create_partitions(image, [request_]).response
    assert result.code.name == code


def alter(
    image: MetadataImage, type_: int, name: str, *changes: tuple[str, int, str | None]
) -> Any:
    request = c.ResourceChange(
        ConfigResource(type_, name), tuple(c.ConfigChange(*each) for each in changes)
    )
    return c.incremental_alter_configs(image, [request], broker_bounds=BOUNDS)


def test_list_configs_are_appended_to_and_subtracted_from() -> None:
    image = with_topic(cluster(7), c.NewTopic("t"))
    image = replayed(image, alter(image, 2, "t", ("cleanup.policy", 2, "compact")).records)
    assert image.topic_configs("t") == {"cleanup.policy": "delete,compact"}
    image = replayed(image, alter(image, 2, "t", ("cleanup.policy", 3, "delete")).records)
    assert image.topic_configs("t") == {"cleanup.policy": "compact"}
    image = replayed(image, alter(image, 2, "t", ("cleanup.policy", 1, None)).records)
    assert image.configs == {}


@pytest.mark.parametrize(
    ("type_", "name", "change", "code"),
    [
        (2, "u", ("retention.ms", 0, "7"), "unknown_topic_or_partition"),
        (2, "", ("retention.ms", 0, "7"), "invalid_request"),
        (2, "t", ("retention.ms", 0, None), "invalid_request"),
        (2, "t", ("retention.ms", 2, "7"), "invalid_config"),
        (2, "t", ("retention.ms", 9, "7"), "invalid_request"),
        (2, "t", ("retention.ms", 0, "x"), "invalid_config"),
        (2, "t", ("cleanup.policy", 0, "x" * 32768), "invalid_config"),
        (2, "t", ("min.compaction.lag.ms", 0, str(2**63)), "invalid_config"),
        (4, "7", ("node.id", 0, "8"), "invalid_request"),
        (4, "x", ("log.retention.ms", 0, "8"), "invalid_request"),
        (4, "9", ("log.retention.ms", 0, "8"), "broker_id_not_registered"),
        (4, "7", ("nonsense", 0, "8"), "invalid_request"),
        (4, "7", ("log.segment.bytes", 0, "77"), "invalid_request"),
        (8, "7", ("root", 0, "INFO"), "invalid_request"),
        (32, "", ("streams.num.standby.replicas", 0, "1"), "invalid_request"),
        (32, "g", ("streams.num.standby.replicas", 0, "3"), "invalid_config"),
        (32, "g", ("streams.session.timeout.ms", 0, "44999"), "invalid_config"),
        (32, "g", ("nonsense", 0, "1"), "invalid_config"),
    ],
)
def test_bad_config_change_is_refused(
    type_: int, name: str, change: tuple[str, int, str | None], code: str
) -> None:
    image = with_topic(cluster(7), c.NewTopic("t"))
    outcome = alter(image, type_, name, change)
    assert outcome.response[0][1].code.name == code
    assert outcome.records == ()


def test_group_and_broker_configs_reach_the_image() -> None:
    image = cluster(7)
    image = replayed(image, alter(image, 32, "g", ("streams.num.standby.replicas", 0, "2")).records)
    image = replayed(image, alter(image, 4, "", ("log.retention.ms", 0, "77")).records)
    assert image.group_configs("g") == {"streams.num.standby.replicas": "2"}
    assert image.broker_configs(None) == {"log.retention.ms": "77"}


def test_duplicate_keys_and_resources_are_refused() -> None:
    image = with_topic(cluster(7), c.NewTopic("t"))
    twice = alter(image, 2, "t", ("retention.ms", 0, "7"), ("retention.ms", 0, "8"))
    assert twice.response[0][1].code.name == "invalid_request"
    one = c.ResourceChange(ConfigResource(2, "t"), (c.ConfigChange("retention.ms", 0, "7"),))
    outcome = c.incremental_alter_configs(image, [one, one], broker_bounds=BOUNDS)
    assert [result.code.name for _, result in outcome.response] == ["invalid_request"]


def test_replacing_configs_deletes_what_is_not_named() -> None:
    pairs = (("retention.ms", "77"), ("flush.ms", "5"))
    image = with_topic(cluster(7), c.NewTopic("t", configs=pairs))
    outcome = c.replace_configs(
        image, [(ConfigResource(2, "t"), {"flush.ms": "6"})], broker_bounds=BOUNDS
    )
    assert replayed(image, outcome.records).topic_configs("t") == {"flush.ms": "6"}


def test_producer_ids_come_in_blocks_of_a_thousand() -> None:
    image = cluster(7)
    epoch = image.brokers[7].epoch
    first = c.allocate_producer_ids(image, 7, epoch)
    second = c.allocate_producer_ids(replayed(image, first.records), 7, epoch)
    assert (first.response.first, second.response.first) == (0, 1000)
    with pytest.raises(ApiError) as raised:
        c.allocate_producer_ids(image, 7, epoch + 1)
    assert raised.value.code is ErrorCode.stale_broker_epoch


def test_new_incarnation_of_an_unfenced_broker_gets_new_leader_epochs() -> None:
    image = with_topic(cluster(7), c.NewTopic("t", 1))
    offset = image.offset + 1
    outcome = c.register_broker(
        image, registration(7, incarnation=2), next_offset=offset, has_session=False
    )
    image = replayed(image, outcome.records)
    assert image.brokers[7].fenced
    assert image.brokers[7].epoch == offset
    assert image.topics["t"].partitions[0].leader == -1
    image = replayed(image, c.unfence_broker(image, 7, offset).records)
    assert image.topics["t"].partitions[0].leader == 7
    assert image.topics["t"].partitions[0].leader_epoch == 2
    assert image.topics["t"].partitions[0].partition_epoch == 2


def test_live_incarnation_keeps_its_id() -> None:
    image = cluster(7)
    with pytest.raises(ApiError) as raised:
        c.register_broker(image, registration(7, incarnation=2), next_offset=77, has_session=True)
    assert raised.value.code is ErrorCode.duplicate_broker_registration
    same = c.register_broker(image, registration(7), next_offset=77, has_session=True)
    assert same.records == ()
    assert same.response == image.brokers[7].epoch


def test_shutdown_moves_leaders_and_shrinks_isrs() -> None:
    image = with_topic(cluster(7, 8), c.NewTopic("t", 1, 2))
    image = replayed(image, c.begin_controlled_shutdown(image, 7, image.brokers[7].epoch).records)
    image = replayed(image, c.fence_broker(image, 7, image.brokers[7].epoch).records)
    partition = image.topics["t"].partitions[0]
    assert (partition.leader, partition.isr, partition.leader_epoch) == (8, (8,), 1)
    image = replayed(image, c.begin_controlled_shutdown(image, 8, image.brokers[8].epoch).records)
    partition = image.topics["t"].partitions[0]
    assert (partition.leader, partition.isr, partition.leader_epoch) == (-1, (8,), 2)


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (c.FeatureUpdate("streams.version", 1), "none"),
        (c.FeatureUpdate("streams.version", 2), "invalid_update_version"),
        (c.FeatureUpdate("streams.version", -1), "invalid_update_version"),
        (c.FeatureUpdate("streams.version", 1, 2), "invalid_update_version"),
        (c.FeatureUpdate("streams.version", 1, 0), "invalid_update_version"),
        (c.FeatureUpdate("share.version", 1), "invalid_update_version"),
        (c.FeatureUpdate("nonsense", 1), "invalid_update_version"),
        (c.FeatureUpdate("nonsense", 0, 2), "invalid_update_version"),
        (c.FeatureUpdate("share.version", 0, 2), "none"),
        (c.FeatureUpdate("metadata.version", 29), "invalid_update_version"),
        (c.FeatureUpdate("metadata.version", 29, 2), "invalid_update_version"),
        (c.FeatureUpdate("metadata.version", 29, 3), "invalid_update_version"),
        (c.FeatureUpdate("kraft.version", 0, 2), "invalid_update_version"),
    ],
)
def test_feature_updates_are_checked(update: c.FeatureUpdate, code: str) -> None:
    image = replayed(
        cluster(7),
        [
            r.FeatureLevelRecord(name="metadata.version", feature_level=30),
            r.FeatureLevelRecord(name="kraft.version", feature_level=1),
        ],
    )
    assert c.update_features(image, [update]).response.code.name == code
