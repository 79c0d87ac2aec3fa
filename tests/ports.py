"""Ports for servers that must be told theirs."""

from __future__ import annotations

import random
import socket

SERVERS = range(20_000, 30_000)
"""Below the range from which Linux takes the ports of outgoing connections (`ip_local_port_range`),
so that no connection made between the choice and the start of the server takes the port."""

_chance = random.SystemRandom()


def free_ports(count: int = 2) -> int:
    """The first of `count` ports in a row at which nothing listens.

    Two is what a node of Apache Kafka needs: its controller listens one port above the broker.
    """
    while True:
        first = _chance.randrange(SERVERS.start, SERVERS.stop - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
