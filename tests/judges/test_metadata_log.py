"""The metadata log against Apache Kafka: it reads ours, starts on ours, and we read its own."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from streamkit.broker.kraft import controller as c
from streamkit.broker.kraft import records as r
from streamkit.broker.kraft.control_records import read_quorum_change
from streamkit.broker.kraft.features import initial_levels
from streamkit.broker.kraft.format import NodeIdentity, open_data_dir
from streamkit.broker.kraft.ids import id_text
from streamkit.broker.kraft.image import MetadataImage
from streamkit.broker.kraft.membership import Membership
from streamkit.broker.kraft.meta_properties import MetaProperties
from streamkit.broker.kraft.quorum import Quorum
from streamkit.broker.kraft.quorum_state import decode_quorum_state
from streamkit.broker.kraft.snapshot import decode_records, decode_snapshot
from streamkit.broker.kraft.voters import VoterEndpoint, VoterSet
from streamkit.common.system import system_seams
from streamkit.records import decode, scan
from tests.judges.conftest import KAFKA, KafkaTool
from tests.ports import free_ports

pytestmark = pytest.mark.judge

SEAMS = system_seams()
NODE_ID = 7
DIRECTORY = UUID("211110d4-bb38-4138-b2c8-702b479eea75")
TOPIC_ID = UUID("ec209319-8c76-47d5-8dd7-3238e2678e23")
ENDPOINT = r.Endpoint(name="PLAINTEXT", host="localhost", port=19092, security_protocol=0)
FEATURE = r.FeatureRange(name="f", min_supported_version=2, max_supported_version=5)

EVERY_RECORD: tuple[r.MetadataRecord, ...] = (
    r.RegisterBrokerRecord(
        broker_id=8,
        incarnation_id=TOPIC_ID,
        broker_epoch=41,
        end_points=(ENDPOINT,),
        features=(FEATURE,),
        rack="r1",
        log_dirs=(DIRECTORY,),
        cordoned_log_dirs=(DIRECTORY,),
    ),
    r.FenceBrokerRecord(id=8, epoch=41),
    r.UnfenceBrokerRecord(id=8, epoch=41),
    *(
        r.BrokerRegistrationChangeRecord(broker_id=8, broker_epoch=41, **change)
        for change in (
            {"fenced": 1},
            {"in_controlled_shutdown": 1},
            {"log_dirs": (DIRECTORY,)},
            {"cordoned_log_dirs": ()},
        )
    ),
    r.TopicRecord(name="all", topic_id=TOPIC_ID),
    r.PartitionRecord(
        partition_id=0,
        topic_id=TOPIC_ID,
        replicas=(7, 8),
        isr=(8,),
        removing_replicas=(7,),
        adding_replicas=(8,),
        leader=8,
        leader_recovery_state=1,
        leader_epoch=5,
        partition_epoch=6,
        directories=(DIRECTORY, None),
        eligible_leader_replicas=(7,),
        last_known_elr=(7,),
    ),
    r.PartitionChangeRecord(
        partition_id=0,
        topic_id=TOPIC_ID,
        isr=(),
        leader=-1,
        replicas=(8, 7),
        removing_replicas=(),
        adding_replicas=(),
        leader_recovery_state=0,
        directories=(DIRECTORY, DIRECTORY),
        eligible_leader_replicas=(8,),
        last_known_elr=(8,),
    ),
    r.ClearElrRecord(topic_name="all"),
    r.RemoveTopicRecord(topic_id=TOPIC_ID),
    r.UnregisterBrokerRecord(broker_id=8, broker_epoch=41),
    r.ConfigRecord(resource_type=32, resource_name="g", name="k", value=None),
    r.ProducerIdsRecord(broker_id=7, broker_epoch=41, next_producer_id=3000),
    r.UserScramCredentialRecord(
        name="u", mechanism=2, salt=b"s", stored_key=b"k", server_key=b"v", iterations=4096
    ),
    r.RemoveUserScramCredentialRecord(name="u", mechanism=2),
    r.ClientQuotaRecord(
        entity=(r.QuotaEntity(entity_type="user", entity_name=None),),
        key="producer_byte_rate",
        value=1.5,
        remove=False,
    ),
    r.DelegationTokenRecord(
        owner="User:a",
        requester="User:b",
        renewers=("User:c",),
        issue_timestamp=11,
        max_timestamp=12,
        expiration_timestamp=13,
        token_id="i",
    ),
    r.RemoveDelegationTokenRecord(token_id="i"),
    r.AccessControlEntryRecord(
        id=TOPIC_ID,
        resource_type=2,
        resource_name="t",
        pattern_type=3,
        principal="User:a",
        host="*",
        operation=3,
        permission_type=3,
    ),
    r.RemoveAccessControlEntryRecord(id=TOPIC_ID),
    r.NoOpRecord(),
    r.ZkMigrationStateRecord(zk_migration_state=4),
    r.BeginTransactionRecord(name="b"),
    r.AbortTransactionRecord(reason="why"),
    r.BeginTransactionRecord(),
    r.EndTransactionRecord(),
)


async def fill(path: Path, controller_port: int, *extra: r.MetadataRecord) -> MetadataImage:
    """A life of a small cluster: two starts, topics made and deleted, configs, producer ids."""
    controller = VoterEndpoint("CONTROLLER", "127.0.0.1", controller_port)
    for start in range(2):
        properties = open_data_dir(SEAMS, str(path), NodeIdentity(NODE_ID, None, (controller,)))
        # Small enough for the topics of each start to bring a snapshot.
        quorum = Quorum(SEAMS, str(path), properties, snapshot_bytes=3000)
        await quorum.start()
        member = Membership(quorum, SEAMS.random.uuid4())
        await member.register((ENDPOINT,))
        await member.unfence()
        await make_topics(quorum, f"kept{start}", f"gone{start}")
        name = f"gone{start}"
        await quorum.write(
            lambda image, name=name: c.delete_topics(image, [(name, None)], is_enabled=True)  # type: ignore[misc]  # bound now
        )
        await quorum.write(
            lambda image: c.allocate_producer_ids(image, NODE_ID, member.broker_epoch)  # noqa: B023  # run now
        )
        if extra:
            await quorum.append(extra)
        await member.leave()
        image = quorum.image
        await quorum.stop()
    return image


async def make_topics(quorum: Quorum, *names: str) -> None:
    configs = (("retention.ms", "77"), ("cleanup.policy", "compact,delete"))
    await quorum.write(
        lambda image: c.create_topics(
            image,
            [c.NewTopic(name, 3, configs=configs) for name in names],
            defaults=c.TopicDefaults(),
            topic_ids=[SEAMS.random.uuid4() for _ in names],
        )
    )


def dumped(kafka_tool: KafkaTool, path: Path) -> list[dict[str, Any]]:
    """The records that Kafka reads in a file; every batch must be whole and every record known."""
    output = kafka_tool("dump-log", "--cluster-metadata-decoder", "--files", str(path))
    assert "isvalid: false" not in output
    assert "Error" not in output, output
    assert "error" not in output, output
    return [json.loads(each) for each in re.findall(r"payload: (\{.*\})$", output, re.MULTILINE)]


def test_kafka_reads_every_record_of_our_log_and_snapshots(
    tmp_path: Path, kafka_tool: KafkaTool
) -> None:
    image = asyncio.run(fill(tmp_path, 19093, *EVERY_RECORD))
    directory = tmp_path / "__cluster_metadata-0"
    payloads = dumped(kafka_tool, directory / "00000000000000000000.log")
    seen = {each["type"].replace("_", "").lower() for each in payloads}
    assert seen == {cls.__name__.lower() for cls in r.RECORD_TYPES}
    created = [each["data"] for each in payloads if each["type"] == "TOPIC_RECORD"]
    kept = next(each for each in created if each["name"] == "kept1")
    assert kept["topicId"] == id_text(image.topics["kept1"].id)
    snapshots = sorted(directory.glob("*.checkpoint"))
    assert len(snapshots) == 2
    names = [
        each["data"]["name"]
        for each in dumped(kafka_tool, snapshots[-1])
        if each["type"] == "TOPIC_RECORD"
    ]
    assert "kept0" in names
    levels = [each["data"] for each in dumped(kafka_tool, tmp_path / "bootstrap.checkpoint")]
    found = {each["name"]: each["featureLevel"] for each in levels}
    assert found == initial_levels()
    assert found["metadata.version"] == 30


def test_kafka_reads_the_first_snapshot_and_the_quorum_records(
    tmp_path: Path, kafka_tool: KafkaTool
) -> None:
    node = NodeIdentity(NODE_ID, None, (VoterEndpoint("CONTROLLER", "127.0.0.1", 19093),))
    properties = open_data_dir(SEAMS, str(tmp_path), node)
    asyncio.run(start_and_stop(tmp_path, properties))
    directory = tmp_path / "__cluster_metadata-0"
    for path in sorted(directory.glob("*.checkpoint")) + sorted(directory.glob("*.log")):
        output = kafka_tool("dump-log", "--cluster-metadata-decoder", "--files", str(path))
        assert 'KRaftVersion {"version":0,"kRaftVersion":1}' in output
        assert f'"voterDirectoryId":"{id_text(properties.directory_id)}"' in output
        assert '"endpoints":[{"name":"CONTROLLER","host":"127.0.0.1","port":19093}]' in output
    assert '"leaderId":7,"voters":[{"voterId":7}],"grantingVoters":[{"voterId":7}]' in output


async def start_and_stop(path: Path, properties: MetaProperties) -> None:
    quorum = Quorum(SEAMS, str(path), properties)
    await quorum.start()
    await quorum.stop()


PROPERTIES = """
process.roles=broker,controller
node.id={node_id}
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
"""


class KafkaOn:
    """Apache Kafka on a data directory that is already there."""

    def __init__(self, home: Path, data: Path, port: int, controller: int, node_id: int) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.address = f"127.0.0.1:{port}"
        text = PROPERTIES.format(node_id=node_id, port=port, controller=controller, data=data)
        (home / "server.properties").write_text(text)

    def __enter__(self) -> KafkaOn:
        self._run("restart")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("stop")

    def _run(self, command: str) -> None:
        log = self.home / "log"
        done = subprocess.run([str(KAFKA), command, str(self.home)], timeout=120, check=False)
        assert done.returncode == 0, log.read_text()[-3000:] if log.exists() else command


def test_kafka_starts_on_our_directory_and_we_on_its_return(
    tmp_path: Path, kafka_tool: KafkaTool
) -> None:
    """Our format, log and snapshots are good enough to lead a cluster from, both ways."""
    data = tmp_path / "data"
    data.mkdir()
    port = free_ports()
    controller = port + 1
    ours = asyncio.run(fill(data, controller))
    with KafkaOn(tmp_path / "kafka", data, port, controller, NODE_ID) as kafka:
        at = ("--bootstrap-server", kafka.address)
        listed = kafka_tool("topics", *at, "--list").split()
        assert [each for each in listed if not each.startswith("__")] == ["kept0", "kept1"]
        described = kafka_tool("topics", *at, "--describe", "--topic", "kept1")
        assert id_text(ours.topics["kept1"].id) in described
        assert "retention.ms=77" in described
        kafka_tool("topics", *at, "--create", "--topic", "theirs", "--partitions", "2")
    image = asyncio.run(image_at_start(data))
    assert sorted(each for each in image.topics if not each.startswith("__")) == [
        "kept0",
        "kept1",
        "theirs",
    ]
    assert image.topics["kept1"].id == ours.topics["kept1"].id
    assert image.epoch == ours.epoch + 2


async def image_at_start(path: Path) -> MetadataImage:
    properties = open_data_dir(SEAMS, str(path), NodeIdentity(NODE_ID, None, ()))
    quorum = Quorum(SEAMS, str(path), properties)
    await quorum.start()
    await quorum.stop()
    return quorum.image


@pytest.fixture(scope="module")
def kafka_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Apache Kafka leaves after topics and configs were made, in a dynamic quorum."""
    home = tmp_path_factory.mktemp("kafka")
    data = home / "data"
    port = free_ports()
    controller = port + 1
    kafka = KafkaOn(home, data, port, controller, 3)
    format_ = ("format", "--standalone", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg")
    run([str(KAFKA), "storage", *format_, "--config", str(home / "server.properties")])
    with kafka:
        at = ["--bootstrap-server", kafka.address]
        topic = ["--create", "--topic", "alpha", "--partitions", "3"]
        run([str(KAFKA), "topics", *at, *topic, "--config", "retention.ms=1000"])
        run([str(KAFKA), "topics", *at, "--create", "--topic", "beta"])
        run([str(KAFKA), "topics", *at, "--delete", "--topic", "beta"])
        group = ["--entity-type", "groups", "--entity-name", "g"]
        config = ["--add-config", "streams.num.standby.replicas=1"]
        run([str(KAFKA), "configs", *at, "--alter", *group, *config])
        user = ["--entity-type", "users", "--entity-name", "u"]
        for value in ("producer_byte_rate=1024", "SCRAM-SHA-512=[password=secret]"):
            run([str(KAFKA), "configs", *at, "--alter", *user, "--add-config", value])
    return data


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}\n{done.stderr}"


def test_we_read_the_log_that_kafka_wrote(kafka_directory: Path) -> None:
    data = (kafka_directory / "__cluster_metadata-0/00000000000000000000.log").read_bytes()
    image, voters = MetadataImage(), VoterSet({})
    for header in scan(data):
        batch = decode(data, header)
        if header.is_control:
            voters = read_quorum_change(batch).voters or voters
            continue
        records = decode_records(batch)
        image, _ = image.apply(records, offset=header.last_offset, epoch=header.leader_epoch)
    assert list(image.topics) == ["alpha"]
    assert list(image.topics["alpha"].partitions) == [0, 1, 2]
    assert image.topic_configs("alpha") == {"retention.ms": "1000"}
    assert image.group_configs("g") == {"streams.num.standby.replicas": "1"}
    assert image.features["metadata.version"] == 30
    assert image.brokers[3].fenced
    assert {kind for kind, *_ in image.kept} == {"scram", "quota"}
    assert [each.id for each in voters.keys] == [3]


def test_we_read_the_files_that_kafka_wrote(kafka_directory: Path) -> None:
    where = kafka_directory / "meta.properties"
    properties = MetaProperties.decode(where.read_bytes(), where=str(where))
    assert (properties.cluster_id, properties.node_id) == ("MkU3OEVBNTcwNTJENDM2Qg", 3)
    directory = kafka_directory / "__cluster_metadata-0"
    state = decode_quorum_state((directory / "quorum-state").read_bytes())
    assert (state.epoch, state.leader_id) == (1, 3)
    first = directory / f"{0:020d}-{0:010d}.checkpoint"
    voters = decode_snapshot(first.read_bytes(), where=first.name).quorum.voters
    assert voters is not None
    assert voters.keys[0].directory_id == properties.directory_id
    bootstrap = kafka_directory / "bootstrap.checkpoint"
    levels = decode_snapshot(bootstrap.read_bytes(), where=bootstrap.name).records
    assert r.FeatureLevelRecord(name="metadata.version", feature_level=30) in levels
