"""Groups as scripts; the answers in them are those that Apache Kafka 4.3.1 gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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

SCRIPTS = sorted(Path(__file__).parent.glob("*_scripts/*.txt"))
SETTINGS = {
    "offsets.topic.num.partitions": "3",
    "group.consumer.assignment.interval.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.initial.rebalance.delay.ms": "0",
}
CONNECTION = ConnectionInfo(31, "10.0.0.9", 5151, False)


def answered(script: str, group_id: str, **settings: str) -> str:
    """The script with our answers, on a node in a simulation."""
    simulation = Simulation(20_848)
    seams = simulation.seams("broker", MemoryDisk())
    changed = {name.replace("_", "."): value for name, value in settings.items()}
    node = Node(settings_for("broker:9092", "/data", {**SETTINGS, **changed}), seams)

    async def ask(who: str, api: ApiKey, version: int | None = None, **fields: Any) -> Any:
        chosen = newest_version(api) if version is None else version
        request = fill(request_type(api, chosen), fields)
        frame = memoryview(encode_request(77, who or "script", request))
        chunks = await node.dispatcher.answer(frame, CONNECTION)
        assert chunks is not None
        return decode_response(api, chosen, b"".join(chunks))[1]

    async def main() -> str:
        async with node:
            found = await ask("", ApiKey.FIND_COORDINATOR, coordinator_keys=[group_id])
            assert found.coordinators[0].error_code == ErrorCode.none
            return await GroupScript(ask, group_id).run(script)

    return simulation.run(main())


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_answers_are_kafkas(path: Path) -> None:
    script = path.read_text()
    assert answered(script, path.stem) == script
