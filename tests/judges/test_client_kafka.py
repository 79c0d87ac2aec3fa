"""Our client against Apache Kafka, and against our broker: nothing lost, doubled or moved."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamkit.client.admin import Admin, NewTopic, Resource, ResourceType
from streamkit.client.client import Client
from streamkit.client.consumer import Consumer
from streamkit.client.decode import Fetched, FetchFailed, decode_fetched
from streamkit.client.errors import (
    BrokerRejoinError,
    OffsetOutOfRangeError,
    TopicExistsError,
    UnknownTopicError,
)
from streamkit.client.fetcher import Fetcher
from streamkit.client.offsets import EARLIEST, CommittedOffset, Membership, Offsets
from streamkit.client.producer import Producer
from streamkit.client.settings import ConsumerSettings
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Network, Seams
from streamkit.common.system import run_loop, system_seams
from streamkit.net.errors import AuthenticationError, TlsError
from streamkit.testing.broker import Broker
from tests.judges.secure_kafka import PASSWORD, USERNAME, Authority, SecureKafka
from tests.ports import free_ports

pytestmark = pytest.mark.judge

KAFKA = Path(__file__).parent / "kafka"
RECORDS = 20_000
PARTITIONS = 3
CUT_EVERY_S = 0.03


class CuttingNetwork:
    """The machine's network, whose connections can be cut all at once."""

    def __init__(self, inner: Network) -> None:
        self._inner = inner
        self._open: list[asyncio.Transport] = []
        self.listen = inner.listen
        self.cuts = 0

    async def dial(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> asyncio.Transport:
        transport = await self._inner.dial(factory, host, port, tls, server_hostname)
        self._open.append(transport)
        return transport

    def cut(self) -> None:
        """Reset every connection."""
        for transport in self._open:
            if not transport.is_closing():
                self.cuts += 1
                transport.abort()
        self._open.clear()


def cutting_seams() -> tuple[Seams, CuttingNetwork]:
    seams = system_seams()
    network = CuttingNetwork(seams.network)
    return replace(seams, network=network), network


@pytest.fixture(scope="module", params=["apache", "streamkit"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """`HOST:PORT` of Apache Kafka, then of our broker."""
    if request.param == "streamkit":
        with Broker() as broker:
            yield broker.bootstrap
        return
    directory, port = str(tmp_path_factory.mktemp("kafka")), free_ports()
    subprocess.run([str(KAFKA), "start", directory, str(port)], check=True, timeout=180)
    yield f"127.0.0.1:{port}"
    subprocess.run([str(KAFKA), "stop", directory], check=True, timeout=180)


def partitions_of(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, index) for index in range(PARTITIONS)]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_each_record_is_there_once_and_in_order_although_connections_are_cut(
    cluster: str, compression: str
) -> None:
    async def main() -> None:
        seams, network = cutting_seams()
        topic = f"cut-{compression}"
        async with Admin({"bootstrap.servers": cluster}) as admin:
            await admin.create_topics([NewTopic(topic, PARTITIONS)])
        config = {
            "bootstrap.servers": cluster,
            "compression.type": compression,
            "linger.ms": 1,
            "retry.backoff.ms": 5,
            "reconnect.backoff.ms": 5,
        }
        errors: list[StreamkitError] = []
        acknowledged = await produce_under_cuts(config, topic, seams, network, errors)
        assert errors == []
        assert acknowledged == RECORDS
        assert network.cuts >= 3
        await check_log(cluster, topic, network, seams)

    run_loop(main())


async def produce_under_cuts(
    config: dict[str, object],
    topic: str,
    seams: Seams,
    network: CuttingNetwork,
    errors: list[StreamkitError],
) -> int:
    acknowledged = 0

    def on_delivery(_place: object, error: StreamkitError | None) -> None:
        nonlocal acknowledged
        if error is None:
            acknowledged += 1
        else:
            errors.append(error)

    async def cut() -> None:
        while True:
            await asyncio.sleep(CUT_EVERY_S)
            network.cut()

    async with Producer(config, seams=seams) as producer:
        async with asyncio.TaskGroup() as group:
            cutter = group.create_task(cut())
            for number in range(RECORDS):
                value = f"{number}".ljust(100, "x")
                await producer.send(
                    topic, value, partition=number % PARTITIONS, on_delivery=on_delivery
                )
                if number % 500 == 0:
                    await asyncio.sleep(0.002)
            cutter.cancel()
        await producer.flush()
    return acknowledged


async def check_log(cluster: str, topic: str, network: CuttingNetwork, seams: Seams) -> None:
    settings = ConsumerSettings.from_mapping(
        {"bootstrap.servers": cluster, "reconnect.backoff.ms": 5, "retry.backoff.ms": 5}
    )
    found: dict[int, list[int]] = {index: [] for index in range(PARTITIONS)}
    offsets: dict[int, list[int]] = {index: [] for index in range(PARTITIONS)}
    async with Client(settings, seams) as client:
        fetcher = Fetcher(client, settings)
        fetcher.assign(dict.fromkeys(partitions_of(topic), 0))
        while sum(map(len, found.values())) < RECORDS:
            for event in await fetcher.take():
                assert isinstance(event, Fetched)
                for batch in decode_fetched(event):
                    found[event.tp.partition] += [int(v.rstrip(b"x")) for v in batch.values if v]
                    offsets[event.tp.partition] += batch.offsets
            network.cut()
        ends = await Offsets(client).end_offsets(partitions_of(topic))
        fetcher.close()
    for index in range(PARTITIONS):
        assert found[index] == list(range(index, RECORDS, PARTITIONS))
        assert offsets[index] == list(range(len(found[index])))
        assert ends[TopicPartition(topic, index)] == len(found[index])


def test_offsets_are_committed_and_looked_up(cluster: str) -> None:
    async def main() -> None:
        async with Admin({"bootstrap.servers": cluster}) as admin:
            await admin.create_topics([NewTopic("offsets", PARTITIONS)])
            tp, other = partitions_of("offsets")[:2]
            member = Membership("group-7")
            await admin.offsets.commit(member, {tp: CommittedOffset(42, metadata="note")})
            found = await admin.offsets.fetch(member, [tp, other], require_stable=True)
            assert found == {tp: CommittedOffset(42, metadata="note")}
            stranger = Membership("group-7", member_id="stranger", member_epoch=3)
            with pytest.raises(BrokerRejoinError):
                await admin.offsets.commit(stranger, {tp: CommittedOffset(43)})
        async with Producer({"bootstrap.servers": cluster}) as producer:
            places = [
                await producer.send_and_wait("offsets", b"v", partition=1, timestamp=time)
                for time in (1_000, 2_000, 3_000)
            ]
        assert [place.offset for place in places] == [0, 1, 2]
        async with Consumer({"bootstrap.servers": cluster}) as consumer:
            assert await consumer.offsets_for_times({other: 1_500}) == {other: 1}
            assert await consumer.offsets_for_times({other: 3_500}) == {other: -1}
            assert await consumer.end_offsets([tp, other]) == {tp: 0, other: 3}

    run_loop(main())


def test_admin_creates_describes_and_changes(cluster: str) -> None:
    async def main() -> None:
        async with Admin({"bootstrap.servers": cluster, "client.id": "admin-7"}) as admin:
            new = NewTopic("admin", 2, 1, {"retention.ms": "7200000"})
            (topic_id,) = (await admin.create_topics([new])).values()
            with pytest.raises(TopicExistsError):
                await admin.create_topics([new])
            view = (await admin.describe_topics(["admin"]))["admin"]
            assert (view.topic_id, len(view.partitions)) == (topic_id, 2)
            assert "admin" in await admin.list_topics()
            topic = Resource(ResourceType.TOPIC, "admin")
            configs = await admin.describe_configs(topic, ["retention.ms", "cleanup.policy"])
            assert configs["retention.ms"].value == "7200000"
            assert configs["cleanup.policy"].is_default
            assert len((await admin.describe_cluster()).brokers) == 1
            with pytest.raises(UnknownTopicError):
                await admin.delete_topics(["nowhere"])
            await admin.delete_topics(["admin"])
            assert "admin" not in await admin.list_topics()

    run_loop(main())


def test_topic_made_anew_is_told_from_the_old_one(cluster: str) -> None:
    async def main() -> None:
        tp = TopicPartition("anew", 0)
        config = {
            "bootstrap.servers": cluster,
            "retry.backoff.ms": 5,
            "allow.auto.create.topics": False,
        }
        settings = ConsumerSettings.from_mapping(config)
        async with (
            Admin(config) as admin,
            Producer(config) as producer,
            Client(settings, system_seams()) as client,
        ):
            await admin.create_topics([NewTopic("anew", 1)])
            await producer.send_and_wait("anew", b"old")
            fetcher = Fetcher(client, settings)
            fetcher.assign({tp: 0})
            (event,) = await fetcher.take()
            assert isinstance(event, Fetched)
            await admin.delete_topics(["anew"])
            await admin.create_topics([NewTopic("anew", 1)])
            assert (await producer.send_and_wait("anew", b"new")).offset == 0
            (event,) = await fetcher.take()
            assert isinstance(event, FetchFailed)
            assert isinstance(event.error, OffsetOutOfRangeError)
            listed = await Offsets(client).list_offsets({tp: EARLIEST})
            fetcher.seek(tp, listed[tp].offset)
            (event,) = await fetcher.take()
            assert isinstance(event, Fetched)
            assert [batch.values for batch in decode_fetched(event)] == [[b"new"]]
            fetcher.close()

    run_loop(main())


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


def java_config(secure: SecureKafka, mechanism: str, password: str = PASSWORD) -> dict[str, str]:
    """As in the properties file of a Java client."""
    module = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
    options = f'username="{USERNAME}" password="{password}"'
    return {
        "bootstrap.servers": secure.sasl_ssl,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": mechanism,
        "sasl.jaas.config": f"org.apache.kafka.common.security.{module} required {options};",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": secure.ca,
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_configuration_of_a_java_client_logs_in(secure: SecureKafka, mechanism: str) -> None:
    async def main() -> None:
        config = java_config(secure, mechanism)
        topic = f"secure-{mechanism}"
        async with Producer(config) as producer:
            assert (await producer.send_and_wait(topic, b"v")).offset == 0
        async with Consumer(config) as consumer:
            consumer.assign({TopicPartition(topic, 0): 0})
            (batch,) = await consumer.poll(10_000)
            assert [record.value for record in batch.records()] == [b"v"]

    run_loop(main())


def test_refused_login_and_untrusted_certificate_are_one_line_at_once(
    secure: SecureKafka, tmp_path: Path
) -> None:
    async def enter(config: dict[str, str]) -> None:
        async with Admin(config):
            raise AssertionError("not reached")

    wrong = java_config(secure, "SCRAM-SHA-512", "wrong")
    with pytest.raises(AuthenticationError, match="check the name and password"):
        run_loop(enter(wrong))
    other = Authority.create(tmp_path / "other").certificate
    untrusted = java_config(secure, "PLAIN") | {"ssl.truststore.location": str(other)}
    with pytest.raises(TlsError, match=r"ssl\.truststore\.location"):
        run_loop(enter(untrusted))
