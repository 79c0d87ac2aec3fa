"""RocksDB behind the backend's face: one database per task, one column family per family.

The write-ahead log is on and never synced: a chunk survives the end of the process, and what a
machine's crash takes away is restored from the changelog, whose offset goes with the last chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import rocksdict

from streamkit.common.errors import StorageError
from streamkit.state.backend import Change, Entry

log = logging.getLogger(__name__)

WRITE_BUFFER_BYTES = 8 * 1024 * 1024
MEMORY_BYTES = 64 * 1024 * 1024

RUNS_MIN = 4
"""Files that cover all keys (level 0), from which on RocksDB merges them; its default."""

RUNS_LOADED_MIN = 128
"""The same while a store is loaded: merging few at a time would rewrite the store each time."""

MERGE_READ_BYTES = 64 * 1024
"""What merging reads ahead of each file: there may be many, and none of it is in the cache."""

NEVER = 1 << 30


class RocksMemory:
    """What all databases of a process may keep in memory: blocks, and memtables among them.

    Memtables may take half of it before they are written out, whichever database they belong to.
    """

    def __init__(self, size_bytes: int = MEMORY_BYTES) -> None:
        self.size_bytes = size_bytes
        self.cache = rocksdict.Cache(size_bytes)
        self.write_buffers = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(
            size_bytes // 2, False, self.cache
        )

    @property
    def used_bytes(self) -> int:
        """Blocks and memtables at the moment."""
        used: int = self.cache.get_usage()
        return used


class RocksBackend:
    """A database that this process has open alone."""

    def __init__(
        self, path: str, families: Sequence[str], memory: RocksMemory | None = None
    ) -> None:
        options = _options(memory)
        names = dict.fromkeys([*_existing(path), *families])
        columns = {name: _options(memory) for name in names if name != "default"}
        try:
            self._db = rocksdict.Rdict(path, options, columns)
        except Exception as error:  # rocksdict raises bare Exception
            raise StorageError(f"cannot open the state in {path}: {error}") from error
        self._path = path
        self._columns = {name: self._db.get_column_family(name) for name in families}
        self._loading: set[str] = set()
        self._handles = {name: self._db.get_column_family_handle(name) for name in families}

    def reader(self, family: str) -> Callable[[bytes], bytes | None]:
        get: Callable[[bytes], bytes | None] = self._columns[family].get
        return get

    def write(self, changes: Sequence[Change]) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        handles = self._handles
        for family, key, value in changes:
            if value is None:
                batch.delete(key, handles[family])
            else:
                batch.put(key, value, handles[family])
        try:
            self._db.write(batch)
        except Exception as error:  # rocksdict raises bare Exception
            raise StorageError(f"cannot write the state in {self._path}: {error}") from error

    def load(
        self, family: str, keys: Sequence[bytes], entries: Mapping[bytes, bytes | None]
    ) -> None:
        """Write a file of RocksDB's own and have it take the file over: no log, no memory."""
        if family not in self._loading:
            self._loading.add(family)
            self._merge_from(family, RUNS_LOADED_MIN)
        path = f"{self._path}.load"
        writer = rocksdict.SstFileWriter(_options(None))
        try:
            writer.open(path)
            for key in keys:
                value = entries[key]
                if value is None:
                    del writer[key]
                else:
                    writer[key] = value
            writer.finish()
            how = rocksdict.IngestExternalFileOptions()
            how.set_move_files(True)
            self._columns[family].ingest_external_file([path], how)
        except Exception as error:  # rocksdict raises bare Exception
            raise StorageError(f"cannot load the state in {self._path}: {error}") from error

    def end_load(self, family: str) -> None:
        """Nothing more is loaded: RocksDB's own threads merge the files, while all else goes on."""
        if family in self._loading:
            self._loading.remove(family)
            self._merge_from(family, RUNS_MIN)

    def _merge_from(self, family: str, runs: int) -> None:
        try:
            self._columns[family].set_options({"level0_file_num_compaction_trigger": str(runs)})
        except Exception as error:  # rocksdict raises bare Exception
            raise StorageError(f"cannot load the state in {self._path}: {error}") from error

    def scan(
        self, family: str, low: bytes | None, high: bytes | None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        # A RocksDB iterator sees the database as it is now, whatever is written later.
        cursor = self._columns[family].iter()
        return _backward(cursor, low, high) if reverse else _forward(cursor, low, high)

    def approximate_count(self, family: str) -> int:
        return self.number(family, "rocksdb.estimate-num-keys") or 0

    def clear(self, family: str) -> None:
        keys = [key for key, _ in self.scan(family, None, None)]
        for start in range(0, len(keys), 2000):
            self.write([(family, key, None) for key in keys[start : start + 2000]])

    def drop_below(self, family: str, end: bytes) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        batch.delete_range(b"", end, self._handles[family])
        try:
            self._db.write(batch)
        except Exception as error:  # rocksdict raises bare Exception
            raise StorageError(f"cannot write the state in {self._path}: {error}") from error

    def number(self, family: str, name: str) -> int | None:
        """One of RocksDB's integer properties. Raises StorageError when it is closed."""
        try:
            found: int | None = self._columns[family].property_int_value(name)
        except Exception as error:  # rocksdict raises bare Exception
            raise StorageError(f"{self._path}: no {name}: {error}") from error
        return found

    def close(self) -> None:
        """Flush to disk and close; iterators that are still open keep the database open.

        A disk that is full cannot take the flush. Nothing is lost by it: what was written is in the
        log, or the changelog has it.
        """
        self._handles.clear()
        # Each column is closed by itself: whoever still holds a reader of one would hold the lock.
        for each in (*self._columns.values(), self._db):
            try:
                each.close()
            except Exception as error:  # rocksdict raises bare Exception
                log.warning("%s: closed without its last flush: %s", self._path, error)
        self._columns.clear()


def _options(memory: RocksMemory | None) -> rocksdict.Options:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(1)
    options.set_max_log_file_size(1 << 20)
    options.set_compaction_readahead_size(MERGE_READ_BYTES)
    # A write that RocksDB delays holds the interpreter, and with it the heartbeats.
    options.set_level_zero_slowdown_writes_trigger(NEVER)
    options.set_level_zero_stop_writes_trigger(NEVER)
    if memory is None:
        options.set_db_write_buffer_size(2 * WRITE_BUFFER_BYTES)
    else:
        options.set_write_buffer_manager(memory.write_buffers)
        options.set_write_buffer_size(min(WRITE_BUFFER_BYTES, memory.size_bytes // 8))
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(memory.cache)
        table.set_bloom_filter(10, block_based=False)
        # Indexes and filters count too, or a large database would have them outside the limit.
        table.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(table)
    return options


def _existing(path: str) -> list[str]:
    """The families that are on disk: RocksDB wants every one of them opened."""
    try:
        return list(rocksdict.Rdict.list_cf(path))
    except Exception:  # rocksdict raises bare Exception when there is no database yet
        return []


def _forward(cursor: rocksdict.RdictIter, low: bytes | None, high: bytes | None) -> Iterator[Entry]:
    if low is None:
        cursor.seek_to_first()
    else:
        cursor.seek(low)
    while cursor.valid():
        key = cursor.key()
        if high is not None and key >= high:
            return
        yield key, cursor.value()
        cursor.next()


def _backward(
    cursor: rocksdict.RdictIter, low: bytes | None, high: bytes | None
) -> Iterator[Entry]:
    if high is None:
        cursor.seek_to_last()
    else:
        cursor.seek_for_prev(high)
        if cursor.valid() and cursor.key() == high:
            cursor.prev()
    while cursor.valid():
        key = cursor.key()
        if low is not None and key < low:
            return
        yield key, cursor.value()
        cursor.prev()
