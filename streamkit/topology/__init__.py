"""Topologies: the DSL, the graph, operators, sub-topologies and their description."""
