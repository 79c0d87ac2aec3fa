"""Scripts of groups on our node in a simulation, which may be restarted in between."""

from __future__ import annotations

from typing import Any

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.net.server import ConnectionInfo
from streamkit.protocol.apis import ApiKey, newest_version
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import decode_response, encode_request, request_type
from streamkit.protocol.versions import fill
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.simulation import Simulation
from tests.group_script import GroupScript

SETTINGS = {
    "offsets.topic.num.partitions": "3",
    "group.consumer.assignment.interval.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.initial.rebalance.delay.ms": "0",
}
RESTART = "restart\n"
CONNECTION = ConnectionInfo(31, "10.0.0.9", 5151, False)


def answered(script: str, group_id: str, settings: dict[str, str] | None = None) -> str:
    """The script with our answers; at a line `restart` the node ends and starts again."""
    simulation = Simulation(20_848)
    seams = simulation.seams("broker", MemoryDisk())
    given = settings_for("broker:9092", "/data", {**SETTINGS, **(settings or {})})
    nodes: list[Node] = []

    async def ask(who: str, api: ApiKey, version: int | None = None, **fields: Any) -> Any:
        chosen = newest_version(api) if version is None else version
        request = fill(request_type(api, chosen), fields)
        frame = memoryview(encode_request(77, who or "script", request))
        chunks = await nodes[-1].dispatcher.answer(frame, CONNECTION)
        assert chunks is not None
        return decode_response(api, chosen, b"".join(chunks))[1]

    async def main() -> str:
        runs = GroupScript(ask, group_id)
        parts = []
        for part in script.split(RESTART):
            nodes.append(Node(given, seams))
            async with nodes[-1]:
                found = await ask("", ApiKey.FIND_COORDINATOR, coordinator_keys=[group_id])
                assert found.coordinators[0].error_code == ErrorCode.none
                parts.append(await runs.run(part))
        return RESTART.join(parts)

    return simulation.run(main())
