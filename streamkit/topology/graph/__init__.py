"""The graph: what the DSL declares, cut into sub-topologies."""
