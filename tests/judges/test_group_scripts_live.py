"""The scripts of groups: Apache Kafka still answers so, and our broker over its socket."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamkit.testing.broker import Broker
from tests.group_script import run_on
from tests.harness import ROOT
from tests.ports import free_ports

pytestmark = pytest.mark.judge

KAFKA = Path(__file__).parent / "kafka"
SCRIPTS = sorted((ROOT / "tests" / "broker" / "coordinators").glob("*_scripts/*.txt"))
TIMED = {"classic_commits", "classic_sessions", "classic_timeouts", "rebalance_timeout", "sessions"}
"""Their deadlines of a second or two are not met when the machine is busy with other tests."""
LANES = 4
"""Scripts that run at once."""
SETTINGS = {
    "group.consumer.assignment.interval.ms": "0",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "1",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "45000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
}


@pytest.fixture(params=["ours", "kafka"])
def bootstrap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "ours":
        with Broker(config=SETTINGS) as broker:
            yield broker.bootstrap
        return
    port = free_ports()
    data = tmp_path / "kafka"
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    subprocess.check_call([str(KAFKA), "start", str(data), str(port), *settings])
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.check_call([str(KAFKA), "stop", str(data), "KILL"])
        shutil.rmtree(data, ignore_errors=True)


def test_answers_are_as_recorded(bootstrap: str) -> None:
    scripts = {path.stem: path.read_text() for path in SCRIPTS if path.stem not in TIMED}

    async def scenario() -> list[str]:
        lanes = asyncio.Semaphore(LANES)

        async def run(name: str) -> str:
            async with lanes:
                return await run_on(bootstrap, scripts[name], name)

        return await asyncio.gather(*map(run, scripts))

    for name, answered in zip(scripts, asyncio.run(scenario()), strict=True):
        assert answered == scripts[name], name
