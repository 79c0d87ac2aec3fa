"""The group coordinator: committed offsets and groups, over `__consumer_offsets`."""
