"""The broker's metrics, as one reads them at its endpoint."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.common.errors import ConfigError, UsageError
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.testing.simulation import until


class Reader(asyncio.Protocol):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.received = b""
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


async def get(world: Any, port: int, path: str) -> tuple[int, str]:
    """The status and the body of a GET."""
    reader = Reader()
    seams = world.simulation.seams("operator", world.disk)
    transport = await seams.network.dial(lambda: reader, "broker", port)
    transport.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    await until(lambda: reader.is_lost, 0.001)
    head, _, body = reader.received.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


async def scrape(world: Any, asker: Any) -> dict[str, float]:
    """All samples by name with labels."""
    status, body = await get(world, asker.node.endpoint.port, "/metrics")
    assert status == 200
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


LISTENER = {"metrics_listener": "broker:9404"}


def test_records_and_requests_are_counted_by_topic(world: Any) -> None:
    async def scenario(asker: Any) -> dict[str, float]:
        orders = await asker.create("orders", partitions=2)
        await asker.produce(orders, "a", "b", "c")
        await asker.produce(orders, "d", partition=1)
        fetched = await asker.fetch(orders, 0)
        found = await scrape(world, asker)
        assert found['kafka_server_brokertopicmetrics_bytesout_total{topic="orders"}'] == len(
            fetched.records
        )
        return found

    found = world.run(scenario, **LISTENER)
    topic = "kafka_server_brokertopicmetrics_"
    assert found[f'{topic}messagesin_total{{topic="orders"}}'] == 4
    assert found[f"{topic}messagesin_total"] == 4
    assert found[f'{topic}totalproducerequests_total{{topic="orders"}}'] == 2
    assert found[f'{topic}totalfetchrequests_total{{topic="orders"}}'] == 1
    assert found['kafka_log_log_logendoffset{topic="orders",partition="0"}'] == 3
    assert found['kafka_log_log_logendoffset{topic="orders",partition="1"}'] == 1
    request = "kafka_network_requestmetrics_"
    assert found[f'{request}requests_total{{request="Produce",version="13"}}'] == 2
    assert found[f'{request}errors_total{{request="Produce",error="NONE"}}'] == 2
    assert found[f'{request}totaltimems_count{{request="CreateTopics"}}'] == 1
    assert found["kafka_server_replicamanager_partitioncount"] == 2
    assert found["kafka_server_replicamanager_underreplicatedpartitions"] == 0
    assert found["kafka_controller_kafkacontroller_globaltopiccount"] == 1
    assert found["kafka_server_raftmetrics_current_leader"] == 7


def test_refused_batches_are_counted_as_refused(world: Any) -> None:
    async def scenario(asker: Any) -> dict[str, float]:
        small = await asker.create("small", max_message_bytes="100")
        large = await asker.produce(small, "x" * 200)
        assert large.error_code == ErrorCode.message_too_large
        control = await asker.produce(small, "x", base_offset=5)
        assert control.error_code == ErrorCode.invalid_record
        return await scrape(world, asker)

    found = world.run(scenario, **LISTENER)
    topic = "kafka_server_brokertopicmetrics_"
    assert found[f'{topic}failedproducerequests_total{{topic="small"}}'] == 1
    assert found[f'{topic}bytesrejected_total{{topic="small"}}'] > 200
    assert found[f"{topic}messagesin_total"] == 0
    errors = 'kafka_network_requestmetrics_errors_total{request="Produce",error='
    assert found[f'{errors}"MESSAGE_TOO_LARGE"}}'] == 1


def test_a_deleted_topic_is_shown_no_more_but_stays_in_the_total(world: Any) -> None:
    async def scenario(asker: Any) -> dict[str, float]:
        gone = await asker.create("gone")
        await asker.produce(gone, "a", "b")
        topics = [{"topic_id": gone, "name": None}]
        await asker.ask(ApiKey.DELETE_TOPICS, topics=topics, timeout=1000)
        return await scrape(world, asker)

    found = world.run(scenario, **LISTENER)
    assert not [name for name in found if "gone" in name]
    assert found["kafka_server_brokertopicmetrics_messagesin_total"] == 2


def test_a_waiting_fetch_is_seen_while_it_waits_and_its_wait_is_remote_time(world: Any) -> None:
    delayed = (
        'kafka_server_delayedoperationpurgatory_numdelayedoperations{delayedOperation="Fetch"}'
    )

    async def scenario(asker: Any) -> tuple[dict[str, float], dict[str, float]]:
        orders = await asker.create("orders")
        async with asyncio.TaskGroup() as group:
            group.create_task(asker.fetch(orders, 0, max_wait=700))
            await asyncio.sleep(0.1)
            during = await scrape(world, asker)
        return during, await scrape(world, asker)

    during, after = world.run(scenario, **LISTENER)
    assert (during[delayed], after[delayed]) == (1, 0)
    assert during["streamkit_purgatory_size"] == 1
    request = "kafka_network_requestmetrics_"
    assert after[f'{request}remotetimems_sum{{request="Fetch"}}'] == pytest.approx(700, abs=5)
    assert after[f'{request}localtimems_sum{{request="Fetch"}}'] < 5
    assert after['kafka_server_delayedfetchmetrics_expires_total{fetcherType="consumer"}'] == 1


def test_the_group_coordinator_counts_what_it_does(world: Any) -> None:
    prefix = "kafka_server_group_coordinator_metrics_"

    async def scenario(asker: Any) -> dict[str, float]:
        orders = await asker.create("orders", partitions=3)
        await asker.ask(ApiKey.FIND_COORDINATOR, key_type=0, coordinator_keys=["shop"])
        partitions = [{"partition_index": each, "committed_offset": 5} for each in (1, 2)]
        await asker.ask(
            ApiKey.OFFSET_COMMIT,
            group_id="shop",
            generation_id_or_member_epoch=-1,
            topics=[{"topic_id": orders, "partitions": partitions}],
        )
        await asker.ask(
            ApiKey.OFFSET_DELETE,
            group_id="shop",
            topics=[{"name": "orders", "partitions": [{"partition_index": 2}]}],
        )
        return await scrape(world, asker)

    found = world.run(scenario, **LISTENER)
    assert found[f"{prefix}offset_commit_count"] == 2
    assert found[f"{prefix}offset_deletion_count"] == 1
    assert found[f"{prefix}offset_expiration_count"] == 0
    assert found["kafka_coordinator_group_groupmetadatamanager_numoffsets"] == 1
    assert found[f"{prefix}event_queue_size"] == 0
    for each in ("event_queue_time_ms_max", "event_processing_time_ms_p99"):
        assert found[prefix + each] >= 0
    assert found[f"{prefix}partition_load_time_max"] >= found[f"{prefix}partition_load_time_avg"]


def test_health_and_readiness_follow_the_node(world: Any) -> None:
    async def scenario(asker: Any) -> list[tuple[int, str]]:
        orders = await asker.create("orders")
        port = asker.node.endpoint.port
        answers = [await get(world, port, "/healthz"), await get(world, port, "/readyz")]
        asker.node.dispatcher._parts.replicas.find(orders, 0).go_offline()
        return [*answers, await get(world, port, "/healthz")]

    assert world.run(scenario, **LISTENER) == [
        (200, "ok\n"),
        (200, "ok\n"),
        (503, "logs are offline: orders-0\n"),
    ]


def test_a_stalled_loop_shows(world: Any) -> None:
    async def scenario(asker: Any) -> float:
        await asyncio.sleep(0.5)
        before = (await scrape(world, asker))["streamkit_eventloop_stall_ms_max"]
        # Virtual time goes on while nobody looks at the timers.
        world.simulation.loop._selector.now_s += 0.3
        await asyncio.sleep(0.5)
        after = (await scrape(world, asker))["streamkit_eventloop_stall_ms_max"]
        assert before < 1
        return after

    assert 200 <= world.run(scenario, **LISTENER) <= 300


def test_without_the_setting_there_is_no_endpoint(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        return asker.node.endpoint

    assert world.run(scenario) is None


def test_a_taken_port_is_one_clear_line(world: Any) -> None:
    async def main() -> None:
        other = world.simulation.seams("other", world.disk)
        await other.network.listen(Reader, "broker", 9404)
        async with world.node(**LISTENER):
            pass

    with pytest.raises(UsageError, match=r"metrics.listener cannot listen on broker:9404"):
        world.simulation.run(main())


def test_an_address_that_is_none_is_refused(world: Any) -> None:
    with pytest.raises(ConfigError, match=r"metrics.listener: an address is written HOST:PORT"):
        world.node(metrics_listener="9404")
