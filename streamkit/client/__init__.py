"""The batch-level client: metadata, fetch, produce, offsets, admin, and the public clients."""
