"""The quorum of one over a real directory: format, start, append, restart, snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import orjson
import pytest

from streamkit.broker.kraft import controller as c
from streamkit.broker.kraft.format import NodeIdentity, open_data_dir
from streamkit.broker.kraft.image import MetadataDelta, MetadataImage
from streamkit.broker.kraft.membership import Membership
from streamkit.broker.kraft.quorum import Quorum
from streamkit.broker.kraft.records import ConfigRecord, Endpoint
from streamkit.broker.kraft.snapshot import decode_snapshot, parse_snapshot_name
from streamkit.broker.kraft.voters import VoterEndpoint
from streamkit.common.errors import StorageError, UsageError
from streamkit.common.system import system_seams

R = TypeVar("R")
SEAMS = system_seams()
ENDPOINT = Endpoint(name="PLAINTEXT", host="localhost", port=19092, security_protocol=0)
CONTROLLER = VoterEndpoint("CONTROLLER", "localhost", 19093)
NODE = NodeIdentity(7, None, (CONTROLLER,))


def run(path: Path, work: Callable[[Quorum], Awaitable[R]], *, snapshot_bytes: int = 1 << 20) -> R:
    async def session() -> R:
        properties = open_data_dir(SEAMS, str(path), NODE)
        quorum = Quorum(SEAMS, str(path), properties, snapshot_bytes=snapshot_bytes)
        await quorum.start()
        try:
            return await work(quorum)
        finally:
            await quorum.stop()

    return asyncio.run(session())


async def image_of(quorum: Quorum) -> MetadataImage:
    return quorum.image


async def join(quorum: Quorum) -> Membership:
    membership = Membership(quorum, SEAMS.random.uuid4())
    await membership.register((ENDPOINT,))
    await membership.unfence()
    return membership


async def create(quorum: Quorum, name: str, partitions: int = 3) -> None:
    await quorum.write(
        lambda image: c.create_topics(
            image,
            [c.NewTopic(name, partitions, configs=(("retention.ms", "77"),))],
            defaults=c.TopicDefaults(),
            topic_ids=[SEAMS.random.uuid4()],
        )
    )


async def join_and_create(quorum: Quorum) -> MetadataImage:
    await join(quorum)
    await create(quorum, "words")
    return quorum.image


def test_new_cluster_finalizes_what_is_served(tmp_path: Path) -> None:
    image = run(tmp_path, image_of)
    assert image.features == {
        "metadata.version": 30,
        "group.version": 1,
        "streams.version": 1,
        "transaction.version": 2,
        "kraft.version": 1,
    }


def test_each_start_begins_a_new_leader_epoch(tmp_path: Path) -> None:
    epochs = [run(tmp_path, image_of).epoch for _ in range(3)]
    assert epochs == [1, 2, 3]
    state = orjson.loads((tmp_path / "__cluster_metadata-0/quorum-state").read_bytes())
    assert state == {
        "leaderId": 7,
        "leaderEpoch": 3,
        "votedId": -1,
        "votedDirectoryId": "A" * 22,
        "data_version": 1,
    }


def test_restart_replays_the_same_image(tmp_path: Path) -> None:
    before = run(tmp_path, join_and_create)
    after = run(tmp_path, image_of)
    assert after.topics == before.topics
    assert after.configs == before.configs
    assert after.brokers == before.brokers


def test_partitions_get_a_new_leader_epoch_at_each_registration(tmp_path: Path) -> None:
    run(tmp_path, join_and_create)

    async def join_again(quorum: Quorum) -> MetadataImage:
        await join(quorum)
        return quorum.image

    partition = run(tmp_path, join_again).topics["words"].partitions[2]
    assert (partition.leader, partition.leader_epoch) == (7, 2)


def test_leaving_gives_up_leadership_and_fences(tmp_path: Path) -> None:
    async def stay_a_moment(quorum: Quorum) -> MetadataImage:
        membership = await join(quorum)
        await create(quorum, "words")
        await membership.leave()
        return quorum.image

    image = run(tmp_path, stay_a_moment)
    assert image.brokers[7].fenced
    assert image.topics["words"].partitions[1].leader == -1


def test_snapshot_and_log_together_make_the_image(tmp_path: Path) -> None:
    async def fill(quorum: Quorum) -> MetadataImage:
        await join(quorum)
        for number in range(20):
            await create(quorum, f"t{number}", 5)
        return quorum.image

    before = run(tmp_path, fill, snapshot_bytes=4096)
    names = sorted(each.name for each in tmp_path.glob("__cluster_metadata-0/*.checkpoint"))
    assert len(names) == 2
    newest = parse_snapshot_name(names[-1])
    assert newest is not None
    assert 0 < newest.end_offset <= before.offset + 1
    after = run(tmp_path, image_of, snapshot_bytes=1 << 20)
    assert after.topics == before.topics
    assert after.features == before.features
    assert after.epoch == 2


def test_image_survives_the_loss_of_the_log_below_a_snapshot(tmp_path: Path) -> None:
    before = run(tmp_path, join_and_create, snapshot_bytes=1)
    for each in tmp_path.glob("__cluster_metadata-0/*"):
        if each.suffix in {".log", ".index", ".timeindex"}:
            each.unlink()
    after = run(tmp_path, image_of)
    assert after.topics == before.topics
    assert after.epoch == 2


def test_unfinished_snapshot_is_no_snapshot(tmp_path: Path) -> None:
    before = run(tmp_path, join_and_create)
    part = tmp_path / "__cluster_metadata-0" / f"{99:020d}-{1:010d}.checkpoint.part"
    part.write_bytes(b"half")
    assert run(tmp_path, image_of).topics == before.topics
    assert not part.exists()


def test_damaged_snapshot_is_refused(tmp_path: Path) -> None:
    run(tmp_path, image_of)
    snapshot = tmp_path / "__cluster_metadata-0" / f"{0:020d}-{0:010d}.checkpoint"
    snapshot.write_bytes(snapshot.read_bytes()[:-20])
    with pytest.raises(StorageError, match="no footer"):
        run(tmp_path, image_of)


def test_torn_tail_of_the_log_is_dropped(tmp_path: Path) -> None:
    before = run(tmp_path, join_and_create)
    log = tmp_path / "__cluster_metadata-0/00000000000000000000.log"
    log.write_bytes(log.read_bytes() + b"\0" * 37)
    assert run(tmp_path, image_of).topics == before.topics


def test_long_change_takes_effect_as_a_whole(tmp_path: Path) -> None:
    seen: list[int] = []

    async def change(quorum: Quorum) -> MetadataImage:
        quorum.on_image(lambda image, delta: seen.append(len(image.group_configs("g"))))
        await quorum.append(
            [
                ConfigRecord(resource_type=32, resource_name="g", name=f"k{number}", value="v")
                for number in range(25_000)
            ]
        )
        return quorum.image

    assert len(run(tmp_path, change).group_configs("g")) == 25_000
    assert set(seen) == {0, 25_000}
    assert len(run(tmp_path, image_of).group_configs("g")) == 25_000


def test_unfinished_metadata_transaction_is_aborted_by_the_next_leader(tmp_path: Path) -> None:
    from streamkit.broker.kraft.records import BeginTransactionRecord, FeatureLevelRecord

    async def begin(quorum: Quorum) -> MetadataImage:
        await quorum.append(
            [BeginTransactionRecord(), FeatureLevelRecord(name="f", feature_level=3)]
        )
        return quorum.image

    assert "f" not in run(tmp_path, begin).features
    image = run(tmp_path, image_of)
    assert "f" not in image.features
    assert image.transaction is None


def test_listener_gets_the_present_image_then_each_change(tmp_path: Path) -> None:
    seen: list[tuple[int, MetadataDelta]] = []

    async def listen(quorum: Quorum) -> UUID:
        await join(quorum)
        quorum.on_image(lambda image, delta: seen.append((image.offset, delta)))
        await create(quorum, "words", 2)
        return quorum.image.topics["words"].id

    topic_id = run(tmp_path, listen)
    assert list(seen[0][1].brokers) == [7]
    assert seen[1][1].topics_created == {topic_id: "words"}
    assert list(seen[1][1].partitions) == [(topic_id, 0), (topic_id, 1)]


def test_new_endpoint_is_written_to_the_voters(tmp_path: Path) -> None:
    run(tmp_path, image_of)
    moved = VoterEndpoint("CONTROLLER", "elsewhere", 29093)

    async def session() -> object:
        properties = open_data_dir(SEAMS, str(tmp_path), NODE)
        quorum = Quorum(SEAMS, str(tmp_path), properties, endpoints=(moved,))
        await quorum.start()
        await quorum.stop()
        return quorum.raft.voters.voters[7].endpoints

    assert asyncio.run(session()) == (moved,)


def test_directory_of_another_cluster_or_node_is_refused(tmp_path: Path) -> None:
    open_data_dir(SEAMS, str(tmp_path), NODE)
    with pytest.raises(UsageError, match=r"belongs to cluster \S{22}, not other"):
        open_data_dir(SEAMS, str(tmp_path), NodeIdentity(7, "other", ()))
    with pytest.raises(UsageError, match="belongs to node 7, not 8"):
        open_data_dir(SEAMS, str(tmp_path), NodeIdentity(8, None, ()))


def test_data_without_meta_properties_is_refused(tmp_path: Path) -> None:
    run(tmp_path, image_of)
    (tmp_path / "meta.properties").unlink()
    with pytest.raises(UsageError, match=r"no meta\.properties"):
        open_data_dir(SEAMS, str(tmp_path), NODE)


def test_format_cut_off_before_meta_properties_is_done_again(tmp_path: Path) -> None:
    first = open_data_dir(SEAMS, str(tmp_path), NODE)
    (tmp_path / "meta.properties").unlink()
    second = open_data_dir(SEAMS, str(tmp_path), NODE)
    assert first.directory_id != second.directory_id
    assert run(tmp_path, image_of).epoch == 1


def test_bootstrap_checkpoint_holds_the_feature_levels(tmp_path: Path) -> None:
    open_data_dir(SEAMS, str(tmp_path), NODE)
    data = (tmp_path / "bootstrap.checkpoint").read_bytes()
    records = decode_snapshot(data, where="bootstrap.checkpoint").records
    assert [getattr(each, "name", None) for each in records] == [
        "metadata.version",
        "group.version",
        "streams.version",
        "transaction.version",
    ]


def test_quorum_of_others_is_refused(tmp_path: Path) -> None:
    open_data_dir(SEAMS, str(tmp_path), NODE)
    properties = tmp_path / "meta.properties"
    text = properties.read_text().splitlines()
    changed = ["directory.id=" + "B" * 22 if "directory" in line else line for line in text]
    properties.write_text("\n".join(changed))
    with pytest.raises(UsageError, match="not the only one"):
        run(tmp_path, image_of)


def test_damaged_quorum_state_is_refused(tmp_path: Path) -> None:
    run(tmp_path, image_of)
    (tmp_path / "__cluster_metadata-0/quorum-state").write_text("{}")
    with pytest.raises(StorageError, match="quorum-state is damaged"):
        run(tmp_path, image_of)
