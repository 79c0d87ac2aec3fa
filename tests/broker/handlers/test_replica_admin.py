"""Elections, reassignments and moves between directories, as one node answers them."""

from __future__ import annotations

from typing import Any

import pytest

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

NODE = 7


async def elect(asker: Any, kind: int, *partitions: tuple[str, int]) -> Any:
    topics = [{"topic": topic, "partitions": (index,)} for topic, index in partitions]
    wanted = topics if partitions else None
    return await asker.ask(
        ApiKey.ELECT_LEADERS, election_type=kind, topic_partitions=wanted, timeout=5000
    )


@pytest.mark.parametrize("kind", [0, 1])
def test_leader_that_is_there_needs_no_election(world: Any, kind: int) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders", 3)
        answer = await elect(asker, kind, ("orders", 2), ("orders", 9), ("absent", 0))
        return answer, await elect(asker, kind)

    some, every = world.run(scenario)
    assert some.error_code is ErrorCode.none
    codes = [each.partition_result[0].error_code.name for each in some.replica_election_results]
    assert codes == ["election_not_needed", *["unknown_topic_or_partition"] * 2]
    # Of all partitions, only those are told where an election was tried.
    assert [each.partition_result for each in every.replica_election_results] == [()]


def test_election_of_no_known_type_is_invalid(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders", 3)
        return await elect(asker, 5, ("orders", 2))

    answer = world.run(scenario)
    assert answer.error_code is ErrorCode.invalid_request
    (result,) = answer.replica_election_results
    assert result.partition_result[0].error_code is ErrorCode.invalid_request


@pytest.mark.parametrize(
    ("topic", "replicas", "code"),
    [
        ("orders", (NODE,), "none"),
        ("orders", None, "no_reassignment_in_progress"),
        ("orders", (), "invalid_replica_assignment"),
        ("orders", (NODE, NODE), "invalid_replica_assignment"),
        ("orders", (NODE, 8), "invalid_replica_assignment"),
        ("absent", (NODE,), "unknown_topic_or_partition"),
    ],
)
def test_only_the_assignment_that_is_there_is_valid(
    world: Any, topic: str, replicas: tuple[int, ...] | None, code: str
) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders", 3)
        partition = {"partition_index": 2, "replicas": replicas}
        topics = [{"name": topic, "partitions": [partition]}]
        answer = await asker.ask(ApiKey.ALTER_PARTITION_REASSIGNMENTS, topics=topics, timeout=5000)
        listed = await asker.ask(ApiKey.LIST_PARTITION_REASSIGNMENTS, topics=None, timeout=5000)
        return answer, listed

    answer, listed = world.run(scenario)
    assert answer.responses[0].partitions[0].error_code.name == code
    assert listed.topics == ()


@pytest.mark.parametrize(
    ("is_ours", "topic", "code"),
    [
        (True, "orders", "none"),
        (True, "absent", "unknown_topic_or_partition"),
        (False, "orders", "log_dir_not_found"),
    ],
)
def test_replica_moves_only_to_where_it_is(
    world: Any, is_ours: bool, topic: str, code: str
) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders", 3)
        described = await asker.ask(ApiKey.DESCRIBE_LOG_DIRS, topics=None)
        path = described.results[0].log_dir if is_ours else "/elsewhere"
        topics = [{"name": topic, "partitions": (2,)}]
        return await asker.ask(
            ApiKey.ALTER_REPLICA_LOG_DIRS, dirs=[{"path": path, "topics": topics}]
        )

    answer = world.run(scenario)
    assert answer.results[0].partitions[0].error_code.name == code
