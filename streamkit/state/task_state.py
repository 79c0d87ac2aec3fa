"""All state of one task: its stores' overlays, and how far each is in its changelog.

Nothing reaches the backend before `apply`, which follows the commit: chunks of a bounded size,
the changelog offsets in the last. A crash between two chunks leaves changes without their
offset, and restoring writes them again: the same changes, so nothing is harmed. What a version
does depends on those before it, so a versioned store's changes are one chunk with its offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from streamkit.common.model import Headers, TopicPartition
from streamkit.state.backend import Backend, Change, MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.bulk_load import BYTES_MAX, BulkLoad
from streamkit.state.formats import (
    StoredOffset,
    decode_offset,
    encode_offset,
    encode_value,
    encode_with_headers,
)
from streamkit.state.overlay import OverlayStore
from streamkit.state.versioned import VersionedRows
from streamkit.state.window_keys import stored_key
from streamkit.state.windows import keys_of

OFFSETS_FAMILY = "offsets"
CHUNK_RECORDS_MAX = 2_000
CHUNK_BYTES_MAX = 1 << 20

OpenBackend = Callable[[Sequence[str]], Backend]
"""Opens the task's persistent backend with these families."""

RestoredRecord = tuple[bytes | None, bytes | None, int]
"""Key, value and timestamp of a changelog record."""


class TaskState:
    """The stores of one task as bytes."""

    def __init__(self, builders: Sequence[StoreBuilder], open_backend: OpenBackend) -> None:
        on_disk = [builder.name for builder in builders if builder.persistent]
        in_memory = [builder.name for builder in builders if not builder.persistent]
        self._disk = open_backend([*on_disk, OFFSETS_FAMILY]) if on_disk else None
        self._memory = MemoryBackend([*in_memory, OFFSETS_FAMILY])
        self._backends: dict[str, Backend] = dict.fromkeys(in_memory, self._memory)
        if self._disk is not None:
            self._backends |= dict.fromkeys(on_disk, self._disk)
        self._windowed = {
            builder.name: keys_of(builder) for builder in builders if builder.kind.is_windowed
        }
        self._versioned = {
            builder.name: builder for builder in builders if builder.kind is StoreKind.VERSIONED
        }
        self._with_headers = frozenset(
            builder.name for builder in builders if builder.kind is StoreKind.HEADERS
        )
        self._histories: dict[str, VersionedRows] = {}
        self._loads: dict[str, BulkLoad] = {}
        self.overlays = {
            builder.name: OverlayStore(self._backends[builder.name], builder.name)
            for builder in builders
        }

    @property
    def uncommitted_bytes(self) -> int:
        """The size of all changes since the last apply, and of what is gathered to be loaded."""
        gathered = sum(load.size_bytes for load in list(self._loads.values()))
        return gathered + sum(overlay.size_bytes for overlay in self.overlays.values())

    def stored_offset(self, store: str) -> StoredOffset | None:
        """Where the store is in its changelog; None when it holds nothing."""
        data = self._backends[store].reader(OFFSETS_FAMILY)(store.encode())
        return None if data is None else decode_offset(data)

    def stored_position(self, store: str, tp: TopicPartition) -> StoredOffset | None:
        """Where a global store is in one partition of its topic."""
        data = self._backends[store].reader(OFFSETS_FAMILY)(_position_key(store, tp))
        return None if data is None else decode_offset(data)

    def apply(
        self,
        offsets: Mapping[str, StoredOffset],
        positions: Mapping[str, Mapping[TopicPartition, StoredOffset]] = MappingProxyType({}),
    ) -> None:
        """Write all overlays and these stores' changelog offsets to the backends.

        `positions` are those of global stores, in each partition of their topics. A versioned store
        goes whole: a part of its rows is no history, and replaying over it would not make it one.
        """
        for name in self._versioned:
            changes = self.overlays[name].take_changes()
            if changes:
                changes += _offset_changes([name], offsets)
                self._backends[name].write(changes)
                self.overlays[name].discard()
        for backend, names in self._by_backend():
            for name in names:
                dropped_to = self.overlays[name].dropped_to
                if dropped_to is not None:
                    backend.drop_below(name, dropped_to)
            changes = [change for name in names for change in self.overlays[name].take_changes()]
            changes += _offset_changes(names, offsets)
            changes += [
                (OFFSETS_FAMILY, _position_key(name, tp), encode_offset(at))
                for name in names
                for tp, at in positions.get(name, {}).items()
            ]
            for chunk in chunks(changes):
                backend.write(chunk)
        self.discard()

    def committed(self, store: str) -> OverlayStore:
        """A store as it was at the last commit, to read only."""
        return OverlayStore(self._backends[store], store)

    def disk_property(self, store: str, name: str) -> int | None:
        """A number that RocksDB keeps of a store; None when there is no such thing."""
        found = getattr(self._backends[store], "number", None)
        return None if found is None else found(store, name)

    def discard(self) -> None:
        """Forget every change since the last apply."""
        for overlay in self.overlays.values():
            overlay.discard()

    def restore(
        self,
        store: str,
        records: Sequence[RestoredRecord],
        next_offset: int,
        topic_id: UUID,
        headers: Sequence[Headers] = (),
    ) -> None:
        """Put changelog records straight into the backend, with the offset that follows them."""
        if store in self._versioned:
            changes = self._replayed(self._versioned[store], records)
            changes.append(_offset_change(store, next_offset, topic_id))
            self._backends[store].write(changes)
            return
        if store in self._with_headers:
            changes = [
                (store, key, None if value is None else encode_with_headers(value, time, told))
                for (key, value, time), told in zip(records, headers, strict=True)
                if key is not None
            ]
        else:
            keys = self._windowed.get(store)
            changes = [
                (
                    store,
                    key if keys is None else stored_key(keys, key),
                    None if value is None else encode_value(value, timestamp),
                )
                for key, value, timestamp in records
                if key is not None
            ]
        changes.append(_offset_change(store, next_offset, topic_id))
        for chunk in chunks(changes):
            self._backends[store].write(chunk)

    def can_bulk_load(self, store: str) -> bool:
        """Whether the last value of each key is all that counts."""
        return store not in self._versioned and store not in self._with_headers

    def bulk_load(self, store: str, bytes_max: int = BYTES_MAX) -> BulkLoad:
        """Gather many changelog records, to be loaded at once; the offset is noted after it."""
        backend = self._backends[store]
        keys = self._windowed.get(store)
        load = self._loads[store] = BulkLoad(
            lambda keys, entries: backend.load(store, keys, entries),
            None if keys is None else lambda key: stored_key(keys, key),
            bytes_max,
        )
        return load

    def end_bulk_load(self, store: str) -> None:
        """What comes next is written record by record."""
        self._loads.pop(store, None)
        self._backends[store].end_load(store)

    def note_offset(self, store: str, next_offset: int, topic_id: UUID) -> None:
        """The store holds its changelog up to here."""
        self._backends[store].write([_offset_change(store, next_offset, topic_id)])

    def _replayed(self, builder: StoreBuilder, records: Sequence[RestoredRecord]) -> list[Change]:
        """What the versions in a changelog come to: each goes into its place in the history."""
        overlay = self.overlays[builder.name]
        rows = self._histories.get(builder.name)
        if rows is None:
            rows = VersionedRows(overlay, builder.retention_ms, builder.segment_ms)
            self._histories[builder.name] = rows
        for key, value, timestamp in records:
            if key is not None:
                rows.put(key, value, timestamp)
        changes = overlay.take_changes()
        overlay.discard()
        return changes

    def wipe(self, store: str) -> None:
        """Delete a store's content and its changelog offset."""
        backend = self._backends[store]
        self._histories.pop(store, None)
        backend.write([(OFFSETS_FAMILY, store.encode(), None)])
        prefix = _position_prefix(store)
        for key, _ in list(backend.scan(OFFSETS_FAMILY, prefix, prefix + b"\xff")):
            backend.write([(OFFSETS_FAMILY, key, None)])
        backend.clear(store)
        self.overlays[store].discard()

    def close(self) -> None:
        """Close the backends; what was not applied is forgotten."""
        self.discard()
        if self._disk is not None:
            self._disk.close()
        self._memory.close()

    def _by_backend(self) -> list[tuple[Backend, list[str]]]:
        groups: dict[int, tuple[Backend, list[str]]] = {}
        for name, backend in self._backends.items():
            groups.setdefault(id(backend), (backend, []))[1].append(name)
        return list(groups.values())


def _position_prefix(store: str) -> bytes:
    """No name of a store has a zero in it."""
    return store.encode() + b"\x00"


def _position_key(store: str, tp: TopicPartition) -> bytes:
    return _position_prefix(store) + str(tp).encode()


def _offset_change(store: str, next_offset: int, topic_id: UUID) -> Change:
    stored = encode_offset(StoredOffset(next_offset, topic_id))
    return OFFSETS_FAMILY, store.encode(), stored


def _offset_changes(stores: Sequence[str], offsets: Mapping[str, StoredOffset]) -> list[Change]:
    return [
        (OFFSETS_FAMILY, store.encode(), encode_offset(offsets[store]))
        for store in stores
        if store in offsets
    ]


def chunks(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Split into pieces of bounded count and size; RocksDB holds the GIL while it writes one."""
    start = size = 0
    for index, (_, key, value) in enumerate(changes):
        if index > start and (index - start >= CHUNK_RECORDS_MAX or size >= CHUNK_BYTES_MAX):
            yield changes[start:index]
            start, size = index, 0
        size += len(key) + (len(value) if value is not None else 0)
    if start < len(changes):
        yield changes[start:]
