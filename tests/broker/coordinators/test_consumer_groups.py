"""Consumer groups beyond the scripts: restarts, policies, limits, old records, fencing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from streamkit.broker.coordinators.group import commits
from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.consumer.config import consumer_config
from streamkit.broker.coordinators.group.consumer.model import (
    ConsumerGroup,
    Member,
    MemberState,
    ResolvedRegex,
)
from streamkit.broker.coordinators.group.consumer.subscriptions import (
    compile_or_raise,
    is_refresh_due,
)
from streamkit.broker.coordinators.group.consumer.translate import (
    current_record,
    group_record,
    member_record,
)
from streamkit.broker.coordinators.group.requests import CommitRequest, OffsetToCommit
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.group.topics_hash import topics_hash
from streamkit.broker.settings import BrokerSettings
from streamkit.common.errors import ConfigError
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ApiError, ErrorCode
from tests.group_node import answered


def check(script: str, **settings: str) -> None:
    script = textwrap.dedent(script).lstrip()
    given = {name.replace("_", "."): value for name, value in settings.items()}
    assert answered(script, "g-7", given) == script


def test_members_go_on_after_a_restart() -> None:
    check(
        """
        topic text 4
        hb a 0 names=text assignor=range
            epoch=2 assigned=text:0,1,2,3
        hb b 0 names=text assignor=range instance=j
            epoch=3 assigned=-
        hb a 2
            epoch=2 assigned=text:2,3
        restart
        describe
            Reconciling epoch=3 assignment=3 range
            a consumer epoch=2 assigned=text:0,1,2,3 target=text:2,3
            b consumer epoch=3 assigned=- target=text:0,1
        hb a 2 owned=text:2,3
            epoch=3
        hb b 3 instance=j
            epoch=3 assigned=text:0,1
        hb a 3
            epoch=3
        """
    )


def test_members_that_were_there_before_a_restart_have_a_whole_session() -> None:
    check(
        """
        config consumer.session.timeout.ms=2000 consumer.heartbeat.interval.ms=500
            none
        topic text 2
        hb a 0 names=text
            epoch=2 assigned=text:0,1
        wait 1500
        restart
        wait 1500
        list
            consumer Stable consumer
        wait 1000
        list
            consumer Empty consumer
        """
    )


def test_revoked_partitions_have_a_deadline_after_a_restart_too() -> None:
    check(
        """
        topic text 2
        hb a 0 names=text rt=3000 assignor=range
            epoch=2 assigned=text:0,1
        hb b 0 names=text assignor=range
            epoch=3 assigned=-
        hb a 2
            epoch=2 assigned=text:0
        restart
        wait 2900
        hb a 2
            epoch=2
        wait 200
        hb a 2
            unknown_member_id
        """
    )


def test_regular_expressions_and_their_topics_survive_a_restart() -> None:
    check(
        """
        topic text-1 1
        hb a 0 regex=@-text.*
            epoch=1 assigned=-
        wait 10
        hb a 1
            epoch=2 assigned=text-1:0
        restart
        hb a 2
            epoch=2
        forget text-1
            group_subscribed_to_topic
        """
    )


def test_classic_members_of_a_consumer_group_survive_a_restart() -> None:
    check(
        """
        topic text 4
        join c topics=text instance=i
            generation=1 protocol=range members=1
        sync c 1 give=c=text:0,1,2,3 instance=i
            assigned=text:0,1,2,3
        hb m 0 names=text assignor=range instance=j
            epoch=2 assigned=-
        restart
        chb c 1 instance=i
            rebalance_in_progress
        join c topics=text owned=text:0,1 instance=i
            generation=2 protocol=range
        sync c 2 instance=i
            assigned=text:0,1
        hb m 2 instance=j
            epoch=2 assigned=text:2,3
        """
    )


def test_a_full_group_takes_nobody_but_its_members() -> None:
    check(
        """
        topic text 2
        hb a 0 names=text
            epoch=2 assigned=text:0,1
        hb b 0 names=text
            group_max_size_reached
        join c topics=text
            group_max_size_reached
        hb a 0 names=text
            epoch=2 assigned=text:0,1
        """,
        group_consumer_max_size="1",
    )


@pytest.mark.parametrize("policy", ["disabled", "downgrade"])
def test_without_upgrade_no_consumer_comes_into_a_classic_group(policy: str) -> None:
    check(
        """
        topic text 2
        join c topics=text
            generation=1 protocol=range members=1
        sync c 1 give=c=text:0,1
            assigned=text:0,1
        hb m 0 names=text
            group_id_not_found
        leave c
            none none
        hb m 0 names=text
            epoch=2 assigned=text:0,1
        """,
        group_consumer_migration_policy=policy,
    )


def test_without_migration_no_classic_member_comes_into_a_consumer_group() -> None:
    check(
        """
        topic text 2
        hb m 0 names=text
            epoch=2 assigned=text:0,1
        join c topics=text
            inconsistent_group_protocol
        """,
        group_consumer_migration_policy="DISABLED",
    )


def test_without_downgrade_classic_members_stay_in_the_consumer_group() -> None:
    check(
        """
        topic text 2
        hb m 0 names=text assignor=range
            epoch=2 assigned=text:0,1
        join c topics=text
            generation=3 protocol=range
        hb m -1
            epoch=-1
        wait 50
        list
            consumer Assigning consumer
        join c topics=text
            generation=4 protocol=range
        sync c 4
            assigned=text:0,1
        """,
        group_consumer_migration_policy="upgrade",
    )


def test_a_new_classic_group_waits_for_more_members() -> None:
    check(
        """
        topic text 2
        join a topics=text
            waits
        join b topics=text
            waits
        answered a
            waits
        wait 5000
        answered a
            generation=1 protocol=range members=2
        answered b
            generation=1 protocol=range
        """,
        group_initial_rebalance_delay_ms="3000",
    )


def test_targets_are_computed_once_in_an_interval() -> None:
    check(
        """
        topic text 2
        hb a 0 names=text assignor=range
            epoch=2 assigned=text:0,1
        hb b 0 names=text assignor=range
            epoch=2 assigned=-
        describe
            Assigning epoch=3 assignment=2 range
            a consumer epoch=2 assigned=text:0,1 target=text:0,1
            b consumer epoch=2 assigned=- target=-
        hb a 2
            epoch=2
        wait 1000
        hb a 2
            epoch=2 assigned=text:0
        """,
        group_consumer_assignment_interval_ms="1000",
    )


TOPIC_ID = UUID("ec209319-8c76-47d5-8dd7-3238e2678e23")


@dataclass
class Topics:
    counts: dict[str, int] = field(default_factory=lambda: {"text": 4, "more": 2})
    racks: dict[str, list[list[str]]] = field(default_factory=dict)

    def partition_count(self, topic: str) -> int | None:
        return self.counts.get(topic)

    def topic_id(self, topic: str) -> UUID | None:
        return TOPIC_ID if topic in self.counts else None

    def partition_racks(self, topic: str) -> Sequence[Sequence[str]]:
        return self.racks.get(topic, [])


@pytest.mark.parametrize(
    "changed",
    [
        Topics({"text": 5, "more": 2}),
        Topics({"text": 4}),
        Topics(racks={"text": [["r-1"], [], [], []]}),
    ],
)
def test_partitions_and_racks_change_the_hash_of_a_group(changed: Topics) -> None:
    before = topics_hash(["text", "more"], Topics())
    assert topics_hash(["more", "text", "gone"], Topics()) == before
    assert topics_hash(["text", "more"], changed) != before
    assert topics_hash(["gone"], Topics()) == 0


def test_what_kafka_before_4_1_kept_of_topics_is_removed_once() -> None:
    group = ConsumerGroup("g-7")
    group.replay_partition_metadata(rec.ConsumerGroupPartitionMetadataValue(topics=()))
    assert group.has_partition_metadata
    group.replay_partition_metadata(None)
    assert not group.has_partition_metadata


def test_assignments_of_before_their_epochs_were_kept_have_the_members() -> None:
    value = rec.ConsumerGroupCurrentMemberAssignmentValue(
        member_epoch=7,
        previous_member_epoch=6,
        state=9,
        assigned_partitions=(rec.CurrentPartitions(topic_id=TOPIC_ID, partitions=(2, 3)),),
        partitions_pending_revocation=(),
    )
    group = ConsumerGroup("g-7")
    group.replay_current("m-1", value)
    member = group.members["m-1"]
    assert member.assigned == {(TOPIC_ID, 2): 7, (TOPIC_ID, 3): 7}
    assert member.state is MemberState.UNKNOWN


def shard_with_member(**metadata: Any) -> GroupShard:
    """Member m-1 at epoch 6, with partition 2 of `text` since epoch 4."""
    said = rec.ConsumerGroupMemberMetadataValue(subscribed_topic_names=("text",), **metadata)
    member = Member("m-1", said, epoch=6, previous_epoch=5, assigned={(TOPIC_ID, 2): 4})
    shard = GroupShard()
    records = (
        member_record("g-7", member),
        group_record("g-7", 6, 77),
        current_record("g-7", member),
    )
    for record in records:
        shard.replay(record, 31, -1)
    return shard


def commit_error(shard: GroupShard, **changes: Any) -> ErrorCode:
    fields: dict[str, Any] = {
        "member_id": "m-1",
        "member_epoch": 6,
        "topic_ids": {"text": TOPIC_ID},
        **changes,
    }
    partition = TopicPartition("text", fields.pop("partition", 2))
    request = CommitRequest("g-7", {partition: OffsetToCommit(55)}, **fields)
    try:
        result = commits.commit(shard, request, 1_700_000_000_000, 100)
    except ApiError as error:
        return error.code
    (code,) = result.response.values()
    return code


CLASSIC = rec.ClassicMemberMetadata(session_timeout_ms=9000, supported_protocols=())


@pytest.mark.parametrize(
    ("changes", "plain", "in_transaction", "of_classic"),
    [
        ({}, "none", "none", "none"),
        ({"member_epoch": 4}, "none", "none", "none"),
        ({"member_epoch": 3}, *("stale_member_epoch", "illegal_generation"), "illegal_generation"),
        ({"member_epoch": 7}, *("stale_member_epoch", "illegal_generation"), "illegal_generation"),
        (
            {"member_epoch": 5, "partition": 3},
            *("stale_member_epoch", "illegal_generation"),
            "illegal_generation",
        ),
        ({"member_id": "m-9"}, *("unknown_member_id",) * 3),
        ({"member_id": "", "member_epoch": -1}, "unknown_member_id", "none", "unknown_member_id"),
        ({"api_version": 8}, "unsupported_version", "none", "none"),
    ],
)
def test_commits_of_members_are_fenced(
    changes: dict[str, Any], plain: str, in_transaction: str, of_classic: str
) -> None:
    """KIP-447: what a producer sends on behalf of a consumer is fenced as the consumer is."""
    shard = shard_with_member()
    assert commit_error(shard, **changes).name == plain
    assert commit_error(shard, is_transactional=True, **changes).name == in_transaction
    classic = shard_with_member(classic_member_metadata=CLASSIC)
    assert commit_error(classic, **changes).name == of_classic


def test_regular_expressions_are_whole_names_in_linear_time() -> None:
    matches = compile_or_raise("(a+)+b|text.*")
    assert matches("text-1")
    assert not matches("my-text")
    assert not matches("a" * 50_000)


@pytest.mark.parametrize("regex", ["[", "(?<=a)b", r"(a)\1"])
def test_what_re2_does_not_know_is_refused(regex: str) -> None:
    with pytest.raises(ApiError) as refused:
        compile_or_raise(regex)
    assert refused.value.code is ErrorCode.invalid_regular_expression


@pytest.mark.parametrize(
    ("now_ms", "regexes", "new_topics_version", "due"),
    [
        (1_005_000, {"a", "b"}, 70, False),
        (1_010_001, {"a"}, 70, False),
        (1_010_001, {"a", "b"}, 70, True),
        (1_010_001, {"a"}, 71, True),
        (1_600_001, {"a"}, 70, True),
        (1_600_001, set(), 71, False),
    ],
)
def test_regular_expressions_are_resolved_when_there_is_news(
    now_ms: int, regexes: set[str], new_topics_version: int, due: bool
) -> None:
    group = ConsumerGroup("g-7")
    group.regexes["a"] = ResolvedRegex(frozenset({"text"}), 70, 1_000_000)
    found = is_refresh_due(group, frozenset(regexes), new_topics_version, now_ms, 600_000)
    assert found is due
    group.is_resolving = True
    assert not is_refresh_due(group, frozenset(regexes), new_topics_version, now_ms, 600_000)


def test_a_groups_own_settings_stay_within_bounds_that_moved() -> None:
    settings = BrokerSettings.from_mapping({"group.consumer.max.session.timeout.ms": "50000"})
    own = {"consumer.session.timeout.ms": "60000", "consumer.heartbeat.interval.ms": "7000"}
    config = consumer_config(settings, own)
    assert (config.session_timeout_ms, config.heartbeat_interval_ms) == (50_000, 7_000)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("group.consumer.assignors", "uniform,sticky"),
        ("group.consumer.assignors", ""),
        ("group.consumer.migration.policy", "sideways"),
        ("group.consumer.session.timeout.ms", "44000"),
        ("group.consumer.heartbeat.interval.ms", "16000"),
    ],
)
def test_settings_of_consumer_groups_are_checked(key: str, value: str) -> None:
    with pytest.raises(ConfigError):
        BrokerSettings.from_mapping({key: value})
