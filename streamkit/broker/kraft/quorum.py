"""The shell of the metadata quorum: it carries out what the raft state machine says.

One change at a time is appended, flushed and, when it is committed, replayed into the image;
what is not committed is never seen. Each start begins a new leader epoch. NoOp records are not
written: they let followers and brokers measure how far they lag, and alone nobody does. After a
disk error nothing is appended any more: what is on disk is not known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from streamkit.broker.kraft import quorum_state
from streamkit.broker.kraft.control_records import (
    QuorumChange,
    kraft_version,
    kraft_voters,
    leader_change,
    read_quorum_change,
)
from streamkit.broker.kraft.controller.results import Outcome
from streamkit.broker.kraft.features import KRAFT_VERSION, METADATA_VERSION
from streamkit.broker.kraft.format import METADATA_DIR, read_bootstrap_records
from streamkit.broker.kraft.image import MetadataDelta, MetadataImage
from streamkit.broker.kraft.meta_properties import MetaProperties
from streamkit.broker.kraft.metadata_log import LoadedSnapshot, MetadataLog
from streamkit.broker.kraft.raft import Raft
from streamkit.broker.kraft.raft_types import (
    BecameLeader,
    Commit,
    Effect,
    ElectionState,
    LogEnd,
    Persist,
    RaftTimeouts,
)
from streamkit.broker.kraft.records import (
    AbortTransactionRecord,
    BeginTransactionRecord,
    EndTransactionRecord,
    MetadataRecord,
)
from streamkit.broker.kraft.snapshot import (
    BOOTSTRAP_ID,
    SnapshotId,
    decode_records,
    encode_records,
    encode_snapshot,
    image_records,
)
from streamkit.broker.kraft.voters import ReplicaKey, Voter, VoterEndpoint, VoterSet
from streamkit.common.errors import StorageError, UsageError
from streamkit.common.seams import Seams
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.records import build_control

logger = logging.getLogger(__name__)

R = TypeVar("R")
ImageListener = Callable[[MetadataImage, MetadataDelta], None]

RECORDS_PER_BATCH_MAX = 10_000
"""More than one operation makes; a longer list is written as a metadata transaction (KIP-868)."""
SNAPSHOT_BYTES = 20 * 1024 * 1024
SNAPSHOT_AGE_MS = 60 * 60 * 1000


class Quorum:
    """This node's part in the metadata quorum, and the image that it keeps."""

    def __init__(
        self,
        seams: Seams,
        data_dir: str,
        properties: MetaProperties,
        *,
        endpoints: tuple[VoterEndpoint, ...] = (),
        snapshot_bytes: int = SNAPSHOT_BYTES,
        on_disk_error: Callable[[StorageError], None] | None = None,
    ) -> None:
        self.image = MetadataImage()
        """The newest committed image; only replaced, never changed."""
        self.properties = properties
        self._seams = seams
        self._data_dir = data_dir
        self._endpoints = endpoints
        self._snapshot_bytes = snapshot_bytes
        self._on_disk_error = on_disk_error
        self._failure: StorageError | None = None
        self._listeners: list[ImageListener] = []
        self._changing = asyncio.Lock()
        self._quorum = QuorumChange()
        self._bytes_since_snapshot = 0
        self._snapshot_ms = 0
        self._last_timestamp_ms = 0
        self._is_voters_record_due = False
        self._metadata: MetadataLog | None = None
        self._raft: Raft | None = None

    @property
    def local(self) -> ReplicaKey:
        """This replica: its node and its directory."""
        return ReplicaKey(self.properties.node_id, self.properties.directory_id)

    @property
    def raft(self) -> Raft:
        """The state machine; there once started."""
        assert self._raft is not None, "the quorum is not started"
        return self._raft

    @property
    def leader_id(self) -> int | None:
        """The active controller's node id."""
        return None if self._raft is None else self._raft.leader_id

    @property
    def voters(self) -> VoterSet:
        """Who votes; there once started."""
        return self._voters_of_now()

    @property
    def next_offset(self) -> int:
        """Where the next record goes; it holds only within an operation of `write`."""
        return self._log.log.log_end_offset

    def on_image(self, listener: ImageListener) -> None:
        """Call `listener` with each new image; at once with the present one, if there is one."""
        self._listeners.append(listener)
        if self.image.offset >= 0:
            listener(self.image, self.image.as_delta())

    async def start(self) -> None:
        """Load, become leader of a new epoch, and bring the image up to date.

        Raises StorageError when the directory is damaged, UsageError when others vote too.
        """
        self._metadata, snapshot = MetadataLog.open(self._seams, self._data_dir)
        self._load(snapshot)
        voters = self._quorum.voters
        if voters is None or not voters.is_only_voter(self.local):
            raise UsageError(
                f"{self._data_dir} belongs to a quorum of voters "
                f"{[each.id for each in voters.keys] if voters else []}, of which this broker "
                f"(node {self.local.id}) is not the only one; it runs alone"
            )
        self._raft = Raft(
            self.local,
            voters,
            self._read_election_state(),
            self._metadata.end(snapshot.id),
            RaftTimeouts(),
        )
        await self._carry_out(self._raft.start(self._now(), self._seams.random.random()))
        assert self._raft.is_leader, f"a sole voter is {self._raft.role.value}"
        if METADATA_VERSION not in self.image.features:
            await self._write_bootstrap_records()
        if self.image.transaction is not None:
            # The leader before this one stopped inside a metadata transaction.
            await self.append([AbortTransactionRecord(reason="the controller was restarted")])

    async def stop(self) -> None:
        """Close the log; there is nobody to tell."""
        async with self._changing:
            if self._metadata is not None:
                self._metadata.log.close(clean=self._failure is None)
                self._metadata = None

    async def append(self, records: Sequence[MetadataRecord]) -> int:
        """Append records that take effect together; their last offset, once they are committed.

        Raises ApiError NOT_CONTROLLER when this node does not lead, KAFKA_STORAGE_ERROR when the
        disk fails.
        """
        async with self._changing:
            return await self._append(records)

    async def write(self, operation: Callable[[MetadataImage], Outcome[R]]) -> R:
        """Run a controller operation on the newest image; its response when it is committed.

        Raises ApiError as the operation does.
        """
        async with self._changing:
            outcome = operation(self.image)
            if outcome.records:
                await self._append(outcome.records)
            return outcome.response

    # Loading.

    def _load(self, snapshot: LoadedSnapshot) -> None:
        """Replay the snapshot, and find who votes: their newest record counts, committed or not."""
        end, epoch = snapshot.id
        self._quorum = snapshot.content.quorum
        self.image, _ = MetadataImage().apply(snapshot.content.records, offset=end - 1, epoch=epoch)
        self.image = self.image.with_feature(KRAFT_VERSION, self._quorum.kraft_version)
        if self.image.offset >= 0:
            self._publish(self.image.as_delta())
        self._snapshot_ms = self._seams.clock.now_ms()
        self._is_voters_record_due = snapshot.id == BOOTSTRAP_ID
        for batch in self._log.batches(end, self._log.log.log_end_offset):
            self._bytes_since_snapshot += batch.header.size
            if batch.header.is_control:
                self._note_quorum_change(read_quorum_change(batch))

    def _note_quorum_change(self, change: QuorumChange) -> None:
        if change.voters is not None:
            self._is_voters_record_due = False
        self._quorum = QuorumChange(
            self._quorum.kraft_version if change.kraft_version is None else change.kraft_version,
            self._quorum.voters if change.voters is None else change.voters,
        )

    def _read_election_state(self) -> ElectionState:
        path = self._state_path
        if not self._seams.disk.exists(path):
            return ElectionState()
        return quorum_state.decode_quorum_state(self._seams.disk.read(path))

    async def _write_bootstrap_records(self) -> None:
        records = read_bootstrap_records(self._seams, self._data_dir)
        begin = BeginTransactionRecord(name="Bootstrap records")
        await self.append([begin, *records, EndTransactionRecord()])

    # Effects.

    async def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(state):
                    data = quorum_state.encode_quorum_state(state)
                    self._seams.disk.write_atomic(self._state_path, data)
                case BecameLeader(epoch, granting):
                    logger.info("node %d leads the metadata in epoch %d", self.local.id, epoch)
                    self._begin_epoch(epoch, granting)
                    await self._flush()
                case Commit(high_watermark):
                    self._log.log.update_high_watermark(high_watermark)
                    self._replay(high_watermark)
                case _:
                    raise AssertionError(f"a sole voter has nobody for {effect}")

    def _begin_epoch(self, epoch: int, granting: tuple[ReplicaKey, ...]) -> None:
        """LeaderChange first; kraft.version and the voters with it when the log lacks them."""
        voters = self._voters_of_now()
        records = [leader_change(self.local.id, voters, granting)]
        level = self._quorum.kraft_version or 0
        if level > 0 and (self._is_voters_record_due or voters != self._quorum.voters):
            records += [kraft_version(level), kraft_voters(voters)]
        self._append_batch(
            build_control(
                records,
                timestamp=self._seams.clock.now_ms(),
                base_offset=self.next_offset,
                leader_epoch=epoch,
            ),
            epoch,
        )
        self._note_quorum_change(QuorumChange(level, voters))
        self.raft.set_voters(voters)

    def _voters_of_now(self) -> VoterSet:
        """The voters, with this one's endpoints as they are now (UpdateRaftVoter)."""
        voters = self._quorum.voters
        assert voters is not None, "start found no voters"
        mine = voters.voters[self.local.id]
        endpoints = self._endpoints or mine.endpoints
        others = [each for each in voters.voters.values() if each is not mine]
        return VoterSet.of(Voter(self.local, endpoints), *others)

    async def _append(self, records: Sequence[MetadataRecord]) -> int:
        if self._failure is None:
            try:
                return await self._try_append(records)
            except StorageError as error:
                logger.error("the metadata log: %s", error)
                self._failure = error
                if self._on_disk_error is not None:
                    self._on_disk_error(error)
        raise ApiError(ErrorCode.kafka_storage_error, f"the metadata log: {self._failure}")

    async def _try_append(self, records: Sequence[MetadataRecord]) -> int:
        raft = self.raft
        if not raft.is_leader:
            raise ApiError(ErrorCode.not_controller, f"the controller is {raft.leader_id}")
        for batch in _batches(records):
            data = encode_records(
                batch,
                base_offset=self.next_offset,
                epoch=raft.epoch,
                now_ms=self._seams.clock.now_ms(),
            )
            self._append_batch(data, raft.epoch)
        offset = self.next_offset - 1
        await self._flush()
        assert self.image.offset >= offset, f"offset {offset} of a sole voter is not committed"
        await self._maybe_snapshot()
        return offset

    def _append_batch(self, data: bytes, epoch: int) -> None:
        self._log.log.append_as_follower(data)
        self._bytes_since_snapshot += len(data)
        self.raft.appended(LogEnd(epoch, self.next_offset))

    async def _flush(self) -> None:
        """Nothing counts before it is on disk."""
        end = self.next_offset
        await self._seams.spawn.in_thread(self._log.log.flush)
        await self._carry_out(self.raft.flushed(end))

    def _replay(self, high_watermark: int) -> None:
        for batch in self._log.batches(self.image.offset + 1, high_watermark):
            records = [] if batch.header.is_control else decode_records(batch)
            self._last_timestamp_ms = batch.header.max_timestamp
            before = self.image
            self.image, delta = before.apply(
                records, offset=batch.header.last_offset, epoch=batch.header.leader_epoch
            )
            if batch.header.is_control:
                level = read_quorum_change(batch).kraft_version
                self.image = self.image.with_feature(KRAFT_VERSION, level)
            self._publish(delta)

    def _publish(self, delta: MetadataDelta) -> None:
        for listener in self._listeners:
            listener(self.image, delta)

    # Snapshots.

    async def _maybe_snapshot(self) -> None:
        now_ms = self._seams.clock.now_ms()
        is_old = now_ms - self._snapshot_ms >= SNAPSHOT_AGE_MS
        if self._bytes_since_snapshot < self._snapshot_bytes and not is_old:
            return
        if self.image.transaction is not None:
            # A snapshot cannot say "half of it".
            return
        self._bytes_since_snapshot, self._snapshot_ms = 0, now_ms
        image = self.image
        snapshot = SnapshotId(image.offset + 1, image.epoch)
        chunks = encode_snapshot(
            image_records(image),
            epoch=image.epoch,
            now_ms=now_ms,
            last_timestamp_ms=self._last_timestamp_ms,
            level=self._quorum.kraft_version or 0,
            voters=self._quorum.voters,
        )
        log = self._log
        try:
            await self._seams.spawn.in_thread(lambda: log.write_snapshot(snapshot, chunks))
            log.clean(now_ms)
        except StorageError as error:
            # The log has it all: a snapshot saves time at the next start, no more.
            logger.warning("no metadata snapshot %s: %s", snapshot.file_name, error)
            return
        logger.info("wrote metadata snapshot %s", snapshot.file_name)

    @property
    def _log(self) -> MetadataLog:
        if self._metadata is None:
            raise StorageError("the metadata log is closed")
        return self._metadata

    @property
    def _state_path(self) -> str:
        return f"{self._data_dir}/{METADATA_DIR}/{quorum_state.FILE_NAME}"

    def _now(self) -> float:
        return self._seams.clock.monotonic_ms()


def _batches(records: Sequence[MetadataRecord]) -> Iterable[Sequence[MetadataRecord]]:
    """One batch, or as many as needed inside a metadata transaction."""
    if len(records) <= RECORDS_PER_BATCH_MAX:
        return [records]
    parts = [
        records[start : start + RECORDS_PER_BATCH_MAX]
        for start in range(0, len(records), RECORDS_PER_BATCH_MAX)
    ]
    return [
        [BeginTransactionRecord(), *parts[0]],
        *parts[1:-1],
        [*parts[-1], EndTransactionRecord()],
    ]
