"""What the admin client asks of a broker, over a real socket."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from streamkit.broker.embedded import Broker
from streamkit.client import (
    Admin,
    BlockingAdmin,
    CommittedOffset,
    Consumer,
    ElectionType,
    FeatureUpdate,
    FeatureUpgrade,
    NewTopic,
    Producer,
    Resource,
    ResourceType,
    TopicPartition,
    UnknownTopicError,
)
from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.draft import Draft
from streamkit.client.errors import raise_for
from streamkit.common.errors import RefreshMetadataError, StreamkitError, UsageError
from streamkit.protocol.apis import ApiKey

TP = TopicPartition("orders", 2)
OTHER = TopicPartition("orders", 1)
GONE = TopicPartition("orders", 77)


@dataclass
class Bench:
    """A broker with a topic, an admin, and what others do beside it."""

    admin: Admin
    hasty: Admin
    """Gives up soon, where what is asked for may still come."""
    config: dict[str, str]

    async def read(self, consumer: Consumer, count: int) -> None:
        found = 0
        async with asyncio.timeout(30):
            while found < count:
                found += sum(len(batch) for batch in await consumer.poll(500))

    def consumer(self, group: str) -> Consumer:
        return Consumer(self.config | {"group.id": group, "auto.offset.reset": "earliest"})

    def producer(self, transactional_id: str) -> Producer:
        return Producer(self.config | {"transactional.id": transactional_id})


def run(check: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Broker() as broker:
            config = {"bootstrap.servers": broker.bootstrap, "default.api.timeout.ms": "5000"}
            hasty = config | {"default.api.timeout.ms": "500"}
            async with Admin(config) as admin, Admin(hasty) as impatient:
                await admin.create_topics([NewTopic("orders", 3)])
                async with Producer(config) as producer:
                    for number in range(12):
                        await producer.send("orders", f"{number}", partition=number % 3)
                await check(Bench(admin, impatient, config))

    asyncio.run(main())


async def join_classic(client: Client, group_id: str) -> str:
    """Become the only member of a classic group of consumers that has TP; gives the member id."""
    protocol = {"name": "range", "metadata": b"\0\0\0\0\0\1\0\6orders\xff\xff\xff\xff"}
    fields = {
        "group_id": group_id,
        "session_timeout": 30_000,
        "rebalance_timeout": 5_000,
        "member_id": "",
        "protocol_type": "consumer",
        "protocols": [protocol],
    }

    async def ask(api: ApiKey, values: dict[str, object]) -> object:
        draft = Draft(api, values, version_max=3)
        return await client.call_coordinator(
            CoordinatorKind.GROUP, group_id, draft, lambda a: raise_for(a.error_code, api.name)
        )

    joined = await ask(ApiKey.JOIN_GROUP, fields)
    mine = b"\0\0" + struct.pack(">ih6sii", 1, 6, b"orders", 1, TP.partition) + b"\xff\xff\xff\xff"
    synced = {
        "group_id": group_id,
        "generation_id": joined.generation_id,
        "member_id": joined.member_id,
        "assignments": [{"member_id": joined.member_id, "assignment": mine}],
    }
    await ask(ApiKey.SYNC_GROUP, synced)
    return str(joined.member_id)


def test_groups_are_listed_and_described() -> None:
    async def check(bench: Bench) -> None:
        async with bench.consumer("g-new") as consumer:
            consumer.subscribe(["orders"])
            await bench.read(consumer, 12)
            member_id = await join_classic(bench.admin._client, "g-old")
            listed = await bench.admin.list_groups()
            assert [(each.group_id, each.type) for each in listed] == [
                ("g-new", "consumer"),
                ("g-old", "classic"),
            ]
            assert [g.group_id for g in await bench.admin.list_groups(types=["classic"])] == [
                "g-old"
            ]
            found = await bench.admin.describe_groups(["g-new", "g-old"])
            new, old = found["g-new"], found["g-old"]
            assert (new.type, new.state, len(new.members)) == ("consumer", "Stable", 1)
            assert new.members[0].member_id == consumer.group_metadata().member_id
            assert new.members[0].assignment == new.members[0].target == consumer.assignment
            assert new.members[0].epoch == new.epoch == new.assignment_epoch > 0
            assert (old.type, old.state, old.assignor) == ("classic", "Stable", "range")
            assert [(m.member_id, m.assignment) for m in old.members] == [(member_id, (TP,))]
            assert old.coordinator.node_id >= 0

    run(check)


def test_group_that_there_is_not_cannot_be_described_or_deleted() -> None:
    async def check(bench: Bench) -> None:
        with pytest.raises(UsageError, match=r"g-none.*GROUP_ID_NOT_FOUND"):
            await bench.admin.describe_groups(["g-none"])
        with pytest.raises(UsageError, match=r"g-none.*GROUP_ID_NOT_FOUND"):
            await bench.admin.delete_groups(["g-none"])
        with pytest.raises(UsageError, match="g-none"):
            await bench.admin.delete_group_offsets("g-none", [TP])
        assert await bench.admin.list_group_offsets("g-none") == {}

    run(check)


def test_offsets_of_a_group_are_set_listed_and_deleted() -> None:
    async def check(bench: Bench) -> None:
        admin = bench.admin
        await admin.alter_group_offsets("g-7", {TP: 3, OTHER: CommittedOffset(2, 0, "by hand")})
        all_of_it = {TP: CommittedOffset(3), OTHER: CommittedOffset(2, 0, "by hand")}
        assert await admin.list_group_offsets("g-7") == all_of_it
        assert await admin.list_group_offsets("g-7", [TP]) == {TP: CommittedOffset(3)}
        await admin.delete_group_offsets("g-7", [TP])
        assert list(await admin.list_group_offsets("g-7")) == [OTHER]
        with pytest.raises(UnknownTopicError, match="orders-77"):
            await bench.hasty.delete_group_offsets("g-7", [GONE])
        with pytest.raises(UnknownTopicError, match="orders-77"):
            await bench.hasty.alter_group_offsets("g-7", {GONE: 3})
        await admin.delete_groups(["g-7"])
        assert await admin.list_groups() == []

    run(check)


def test_offsets_of_a_group_with_members_are_left_alone() -> None:
    async def check(bench: Bench) -> None:
        async with bench.consumer("g-7") as consumer:
            consumer.subscribe(["orders"])
            await bench.read(consumer, 12)
            with pytest.raises(UsageError, match="'g-7' has members"):
                await bench.admin.alter_group_offsets("g-7", {TP: 3})
            with pytest.raises(UsageError, match="GROUP_SUBSCRIBED_TO_TOPIC"):
                await bench.admin.delete_group_offsets("g-7", [TP])
            with pytest.raises(UsageError, match="NON_EMPTY_GROUP"):
                await bench.admin.delete_groups(["g-7"])

    run(check)


def test_transactions_are_listed_described_and_aborted() -> None:
    async def check(bench: Bench) -> None:
        admin = bench.admin
        async with bench.producer("mover-7") as producer:
            await producer.begin()
            await producer.send("orders", "x", partition=TP.partition)
            await producer.flush()
            (listed,) = await admin.list_transactions(states=["Ongoing"])
            assert listed.transactional_id == "mover-7"
            described = (await admin.describe_transactions(["mover-7"]))["mover-7"]
            assert (described.state, described.partitions) == ("Ongoing", (TP,))
            states = (await admin.describe_producers([TP]))[TP]
            (open_one,) = [each for each in states if each.transaction_start >= 0]
            assert open_one.producer_id == listed.producer_id
            aborted = await admin.abort_transaction(TP, open_one.transaction_start)
            assert aborted.producer_id == listed.producer_id
            after = (await admin.describe_producers([TP]))[TP]
            assert all(each.transaction_start < 0 for each in after)
            await producer.abort()

    run(check)


def test_transactions_that_there_are_not_are_told() -> None:
    async def check(bench: Bench) -> None:
        with pytest.raises(UsageError, match="nobody"):
            await bench.admin.describe_transactions(["nobody"])
        with pytest.raises(UsageError, match="there is no transaction state Odd"):
            await bench.admin.list_transactions(states=["Odd"])
        with pytest.raises(UsageError, match="no transaction is open in orders-2"):
            await bench.admin.abort_transaction(TP, 40)
        with pytest.raises(UnknownTopicError, match="orders-77"):
            await bench.hasty.describe_producers([GONE])

    run(check)


def test_log_directories_say_what_partitions_take() -> None:
    async def check(bench: Bench) -> None:
        ((node_id, directories),) = (await bench.admin.describe_log_dirs()).items()
        (directory,) = directories
        assert directory.path
        assert directory.total_bytes >= directory.usable_bytes > 0
        assert directory.partitions[TP] > 60
        ((one,),) = (await bench.admin.describe_log_dirs([node_id], [TP, GONE])).values()
        assert list(one.partitions) == [TP]
        with pytest.raises(RefreshMetadataError, match="broker 99"):
            await bench.hasty.describe_log_dirs([99])

    run(check)


def test_features_are_described_and_updated() -> None:
    async def check(bench: Bench) -> None:
        admin = bench.admin
        before = await admin.describe_features()
        name = "transaction.version"
        level = before.finalized[name]
        assert before.supported[name].min <= level <= before.supported[name].max
        with pytest.raises(UsageError, match=name):
            await admin.update_features({name: FeatureUpdate(99)})
        with pytest.raises(UsageError):
            await admin.update_features({"no.such.feature": FeatureUpdate(1)})
        down = {name: FeatureUpdate(level - 1, FeatureUpgrade.SAFE_DOWNGRADE)}
        await admin.update_features(down, validate_only=True)
        assert await admin.describe_features() == before
        await admin.update_features(down)
        after = await admin.describe_features()
        assert after.finalized[name] == level - 1
        assert after.epoch > before.epoch

    run(check)


def test_resources_that_may_have_a_configuration_are_listed() -> None:
    async def check(bench: Bench) -> None:
        everything = await bench.admin.list_config_resources()
        topics = await bench.admin.list_config_resources([ResourceType.TOPIC])
        assert topics == [Resource(ResourceType.TOPIC, "orders")]
        assert {each.type for each in everything} >= {ResourceType.TOPIC, ResourceType.BROKER}
        assert (await bench.admin.describe_configs(topics[0]))["cleanup.policy"].is_default

    run(check)


def test_elections_say_who_needed_one() -> None:
    async def check(bench: Bench) -> None:
        elect = bench.admin.elect_leaders
        assert await elect(ElectionType.PREFERRED) == {}
        assert await elect(ElectionType.UNCLEAN, [TP, OTHER]) == {TP: False, OTHER: False}
        with pytest.raises(UnknownTopicError, match="orders-77"):
            await elect(ElectionType.PREFERRED, [GONE])

    run(check)


def test_replicas_of_a_new_topic_lie_where_they_are_assigned() -> None:
    async def check(bench: Bench) -> None:
        admin = bench.admin
        (broker,) = (await admin.describe_cluster()).brokers
        placed = {0: [broker.node_id], 1: [broker.node_id]}
        await admin.create_topics([NewTopic("placed", assignments=placed)])
        topic = (await admin.describe_topics(["placed"]))["placed"]
        assert [each.replicas for each in topic.partitions] == [(broker.node_id,)] * 2
        with pytest.raises(StreamkitError, match="nowhere"):
            await admin.create_topics([NewTopic("nowhere", assignments={0: [99]})])

    run(check)


def test_blocking_twin_asks_the_same() -> None:
    async def check(bench: Bench) -> None:
        def ask() -> None:
            with BlockingAdmin(bench.config) as admin:
                admin.alter_group_offsets("g-7", {TP: 3, OTHER: 2})
                assert [each.group_id for each in admin.list_groups()] == ["g-7"]
                assert admin.list_group_offsets("g-7", [TP]) == {TP: CommittedOffset(3)}
                assert admin.describe_groups(["g-7"])["g-7"].state == "Empty"
                admin.delete_group_offsets("g-7", [TP])
                admin.delete_groups(["g-7"])
                assert admin.list_transactions() == []
                assert admin.describe_producers([TP])[TP]
                assert admin.describe_log_dirs()
                assert admin.describe_features().finalized
                assert admin.supported_features()
                assert admin.elect_leaders(ElectionType.PREFERRED) == {}
                assert admin.list_config_resources()
                with pytest.raises(UsageError):
                    admin.describe_transactions(["nobody"])
                with pytest.raises(UsageError):
                    admin.abort_transaction(TP, 40)
                with pytest.raises(UsageError):
                    admin.update_features({"no.such.feature": FeatureUpdate(1)})

        await asyncio.to_thread(ask)

    run(check)


def test_blocking_twin_has_every_method() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(Admin) - public(BlockingAdmin) == {"of"}
