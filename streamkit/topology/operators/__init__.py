"""Operators: the nodes that run, linked into direct calls."""

from streamkit.common.compiled import check_whole

check_whole()
