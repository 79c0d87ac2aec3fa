"""State stores: interfaces and builders, overlay, RocksDB, cache, changelog, restore."""
