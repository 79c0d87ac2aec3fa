"""Where a worker listens and is reached, and how questions find their way between workers."""

from __future__ import annotations

import asyncio
import json

import pytest

from streamkit.common.errors import ConfigError, UsageError
from streamkit.common.http_get import HttpError, http_get
from streamkit.common.metrics import Registry
from streamkit.common.model import TopicPartition
from streamkit.common.system import system_seams
from streamkit.rebalance.effects import EndpointPartitions
from streamkit.serdes import string
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.queries import KeyQuery, Page, Row
from streamkit.tasks.asks import Failure, PartitionAnswer
from streamkit.tasks.endpoint import WorkerEndpoint, advertised_of, listener_of
from streamkit.tasks.query_http import QueryHandler
from streamkit.tasks.query_service import QueryService
from streamkit.tasks.settings import StreamsSettings
from streamkit.topology.plan import Subtopology, Topology

BUILDER = StoreBuilder("rows", StoreKind.TIMESTAMPED_KEY_VALUE, string, string)
TOPOLOGY = Topology("app", (Subtopology(4, (), source_topics=("in",), stores=(BUILDER,)),))
PARTITIONS = 3


def settings(**values):
    given = {name.replace("_", "."): value for name, value in values.items()}
    return StreamsSettings.from_mapping(
        {"bootstrap.servers": "h:1", "application.id": "a", **given}
    )


@pytest.mark.parametrize(
    ("values", "slot", "listens", "reached"),
    [
        ({}, 2, None, None),
        ({"web_listener": "10.0.0.7:8080"}, 2, ("10.0.0.7", 8082), ("10.0.0.7", 8082)),
        ({"web_listener": "0.0.0.0:8080"}, 0, ("0.0.0.0", 8080), None),
        (
            {"web_listener": "0.0.0.0:8080", "application_server": "me:9000"},
            3, ("0.0.0.0", 8083), ("me", 9003),
        ),
        ({"application_server": "me:9000"}, 3, None, ("me", 9000)),
        ({"web_listener": "127.0.0.1:0"}, 3, ("127.0.0.1", 0), None),
    ],
)  # fmt: skip
def test_slots_of_a_host_listen_at_ports_of_their_own(values, slot, listens, reached):
    given = settings(**values)
    assert listener_of(given, slot) == listens
    assert advertised_of(given, slot) == reached


@pytest.mark.parametrize("key", ["web_listener", "application_server"])
def test_malformed_address_names_its_key(key):
    with pytest.raises(ConfigError, match=key.replace("_", r"\.")):
        (listener_of if key == "web_listener" else advertised_of)(settings(**{key: "8080"}), 0)


class Host:
    """One worker's endpoint over real sockets; its processing is a function of the partition."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.seams = system_seams()
        self.asked = []
        self.answers = {}
        self.service = QueryService(
            TOPOLOGY, None, self._ask, lambda: cluster, self._count,
            self.seams.network, self.seams.clock,
        )  # fmt: skip
        self.endpoint = WorkerEndpoint(
            ("127.0.0.1", 0), self.seams.network, Registry(), lambda: None,
            lambda: "still restoring", QueryHandler(self.service),
        )  # fmt: skip

    async def start(self):
        await self.endpoint.start()
        self.service.here = ("127.0.0.1", self.endpoint.port)

    def _ask(self, ask):
        self.asked.append(ask)
        ask.reply(
            [
                self.answers.get(each, PartitionAnswer(each, failure=Failure.NOT_PRESENT))
                for each in sorted(ask.partitions)
            ]
        )

    async def _count(self, topic):
        return PARTITIONS

    def has(self, *active, standby=()):
        tps = tuple(TopicPartition("in", each) for each in active)
        followed = tuple(TopicPartition("in", each) for each in standby)
        self.cluster.append(EndpointPartitions("127.0.0.1", self.endpoint.port, tps, followed))
        for each in (*active, *standby):
            row = Row(b"k%d" % each, b"v%d" % self.endpoint.port, 7_000)
            self.answers[each] = PartitionAnswer(each, Page([row], None), is_active=each in active)

    async def get(self, target):
        status, body = await http_get(
            self.seams.network, "127.0.0.1", self.endpoint.port, target, 5.0
        )
        return status, body.decode()


def with_hosts(scenario, count=2):
    async def run():
        cluster = []
        hosts = [Host(cluster) for _ in range(count)]
        for host in hosts:
            await host.start()
        try:
            await scenario(*hosts)
        finally:
            for host in hosts:
                await host.endpoint.close()

    asyncio.run(run())


def test_range_is_gathered_from_all_owners():
    async def scenario(first, second):
        first.has(0, 2)
        second.has(1)
        status, text = await first.get("/stores/rows/range")
        told = json.loads(text)
        assert status == 200
        assert [row["partition"] for row in told["rows"]] == [0, 1, 2]
        owners = {row["value"] for row in told["rows"]}
        assert owners == {f"v{first.endpoint.port}", f"v{second.endpoint.port}"}
        assert [sorted(ask.partitions) for ask in second.asked] == [[1]]

    with_hosts(scenario)


def test_key_with_a_slash_reaches_its_owner():
    async def scenario(first, second):
        second.has(0, 1, 2)
        status, _ = await first.get("/stores/rows/key/a%2Fb%20c")
        assert status == 200
        assert [ask.query for ask in second.asked] == [KeyQuery(b"a/b c")]
        assert first.asked == []

    with_hosts(scenario)


def test_dead_owner_is_passed_over_for_a_standby_when_stale_is_welcome():
    async def scenario(first, second):
        first.cluster.append(EndpointPartitions("127.0.0.1", 1, (TopicPartition("in", 1),), ()))
        second.has(standby=(1,))
        status, text = await first.get("/stores/rows/range?partition=1&timeout_ms=200")
        assert status == 503
        assert json.loads(text)["failures"]["1"]["reason"] == "NOT_PRESENT"
        status, text = await first.get("/stores/rows/range?partition=1&stale=true")
        assert status == 200
        assert json.loads(text)["partitions"]["1"]["active"] is False

    with_hosts(scenario)


def test_refusals_and_readiness():
    async def scenario(host):
        host.has(0, 1, 2)
        assert (await host.get("/stores/nothing/range"))[0] == 404
        assert (await host.get("/stores/rows/anything"))[0] == 400
        assert (await host.get("/stores/rows/range?limit=x"))[0] == 400
        assert (await host.get("/else"))[0] == 404
        assert await host.get("/readyz") == (503, "still restoring\n")
        assert await host.get("/healthz") == (200, "ok\n")
        status, text = await host.get("/stores")
        assert (status, json.loads(text)[0]["name"]) == (200, "rows")

    with_hosts(scenario, 1)


def test_taken_port_is_said_in_words():
    async def scenario(host):
        other = Host([])
        other.endpoint._address = ("127.0.0.1", host.endpoint.port)
        with pytest.raises(UsageError, match=r"web\.listener cannot listen"):
            await other.endpoint.start()

    with_hosts(scenario, 1)


def test_answer_that_is_cut_off_is_an_error():
    class Cut(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
            transport.close()

    async def scenario():
        network = system_seams().network
        listener = await network.listen(Cut, "127.0.0.1", 0)
        with pytest.raises(HttpError, match="within an answer"):
            await http_get(network, "127.0.0.1", listener.port, "/", 5.0)
        await listener.close()
        with pytest.raises(HttpError):
            await http_get(network, "127.0.0.1", listener.port, "/", 5.0)

    asyncio.run(scenario())
