"""State stores: interfaces and builders, overlay, RocksDB, cache, changelog, restore."""

from streamkit.common.compiled import check_whole

check_whole()
