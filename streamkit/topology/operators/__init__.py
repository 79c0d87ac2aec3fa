"""Operators: the nodes that run, linked into direct calls."""
