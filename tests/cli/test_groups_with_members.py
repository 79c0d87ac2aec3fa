"""Groups of each type with members online: shown, and not changed until they are gone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from streamkit.common.system import system_seams
from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines
from tests.harness import ROOT, WorkerProcess, streamkit, wait_for

PROGRAM = """
import streamkit as sk
app = sk.App("NAME", config={"state.dir": "STATE"})
app.stream(TOPICS, key=str, value=str).group_by_key().count(name="c").to_stream().to(
    app.topic("counts", key=str, value=int)
)
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config={"auto.create.topics.enable": "false"}) as running:
        create_topics(running.bootstrap, 2, "lines", "counts", "unread")
        produce_lines(running.bootstrap, "lines", [f"line {n}" for n in range(12)], 2)
        yield running


@contextmanager
def consumer(
    broker: Broker, group: str, protocol: str, instance: str | None = None
) -> Iterator[confluent_kafka.Consumer]:
    """A member that polls on a thread of its own, and has committed."""
    config: dict[str, Any] = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": group,
        "group.protocol": protocol,
        "client.id": f"client-of-{group}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    member = confluent_kafka.Consumer(
        config if instance is None else {**config, "group.instance.id": instance}
    )
    member.subscribe(["lines"])
    over, seen = threading.Event(), threading.Event()

    def poll() -> None:
        while not over.is_set():
            message = member.poll(0.1)
            if message is not None and message.error() is None:
                member.commit(message=message, asynchronous=False)
                seen.set()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        assert seen.wait(60), "no record came"
        yield member
    finally:
        over.set()
        thread.join()
        member.close()


def run(broker: Broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    return streamkit(*arguments, "--bootstrap", broker.bootstrap)


def described(broker: Broker, group: str) -> dict[str, Any]:
    done = run(broker, "groups", "describe", group, "--json")
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def nothing_changes(broker: Broker, group: str, who: str) -> None:
    """Delete and reset are refused, and print nothing of what they would have done."""
    for words in (("delete",), ("reset",), ("reset", "--to", "latest", "--dry-run")):
        done = run(broker, "groups", words[0], group, *words[1:])
        assert (done.returncode, done.stdout) == (2, ""), words
        assert f"group {group!r} has 1 member: {who} at 127.0.0.1. Stop it first" in done.stderr
        assert "--wait SECONDS" in done.stderr


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_are_shown_and_stand_in_the_way(broker: Broker, protocol: str) -> None:
    group = f"members-{protocol}"
    with consumer(broker, group, protocol):
        shown = described(broker, group)
        assert (shown["type"], shown["state"], shown["reasons"]) == (protocol, "Stable", [])
        (member,) = shown["members"]
        assert (member["client_id"], member["client_host"]) == (f"client-of-{group}", "127.0.0.1")
        assert member["assigned"] == [{"topic": "lines", "partition": part} for part in (0, 1)]
        text = run(broker, "groups", "describe", group).stdout
        assert f"{group}: {protocol} group, Stable" in text
        assert "lines(0,1)" in text
        owners = [line.split()[-1] for line in text.splitlines() if line.startswith("lines  ")]
        assert owners == [member["member_id"]] * 2
        nothing_changes(broker, group, f"client-of-{group}")
    assert described(broker, group)["members"] == []
    assert "2 offsets set" in run(broker, "groups", "reset", group).stdout
    assert run(broker, "groups", "delete", group).returncode == 0


def test_static_member_is_named_by_its_instance(broker: Broker) -> None:
    with consumer(broker, "static", "classic", "till-7"):
        assert described(broker, "static")["members"][0]["instance_id"] == "till-7"
        done = run(broker, "groups", "delete", "static")
        assert "client-of-static (instance till-7) at 127.0.0.1" in done.stderr


def test_reset_waits_for_the_members_of_any_group(broker: Broker) -> None:
    argv = [sys.executable, "-m", "streamkit", "groups", "reset", "waits", "--wait", "120"]
    with consumer(broker, "waits", "classic"):
        reset = subprocess.Popen(
            [*argv, "--bootstrap", broker.bootstrap],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert reset.stdout is not None
        assert reset.stdout.readline() == "waiting for 1 member to leave or to time out\n"
    told, faults = reset.communicate(timeout=120)
    assert reset.returncode == 0, faults
    assert "group waits: 2 offsets set" in told


def test_group_of_nearly_that_name_is_told(broker: Broker) -> None:
    with consumer(broker, "orders-of-today", "classic"):
        for words in ("describe", "delete", "reset"):
            done = run(broker, "groups", words, "orders-of-tody")
            assert done.returncode == 2
            assert done.stderr == (
                "streamkit: there is no group 'orders-of-tody'; did you mean 'orders-of-today'?\n"
            )


def test_internal_topics_of_a_group_without_a_topology_are_not_known(broker: Broker) -> None:
    with consumer(broker, "plain", "classic"):
        pass
    done = run(broker, "groups", "delete", "plain", "--internal")
    assert done.returncode == 2
    assert "is a classic group" in done.stderr
    assert run(broker, "groups", "delete", "plain").returncode == 0


def program(directory: Path, *topics: str, name: str = "shop") -> str:
    path = directory / "program.py"
    text = PROGRAM.replace("NAME", name).replace("STATE", str(directory / "state"))
    path.write_text(text.replace("TOPICS", ", ".join(map(repr, topics))))
    return str(path)


def test_streams_group_refuses_members_and_foreign_topics(broker: Broker, tmp_path: Path) -> None:
    path = program(tmp_path, "lines")
    with WorkerProcess(path, broker.bootstrap, tmp_path) as worker:
        wait_for(lambda: worker.logged("running, "), 60, "a task that runs")
        (member,) = described(broker, "shop")["members"]
        nothing_changes(broker, "shop", member["client_id"])
        done = run(broker, "reset", path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "group 'shop' has 1 member: " in done.stderr
        assert worker.stop() == 0
    for wrong in ("unread", "linse"):
        done = run(broker, "groups", "reset", "shop", "--topic", "lines", "--topic", wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"group 'shop' does not read {wrong!r}, but lines" in done.stderr
    dry = run(broker, "reset", path, "--dry-run")
    assert "would delete group shop, shop-c-changelog" in dry.stdout
    assert run(broker, "reset", path).returncode == 0


def test_worker_that_still_has_the_state_is_to_be_stopped(broker: Broker, tmp_path: Path) -> None:
    path = program(tmp_path, "lines")
    disk = system_seams().disk
    disk.make_dirs(str(tmp_path / "state" / "shop"))
    release = disk.lock(str(tmp_path / "state" / "shop" / ".lock"))
    done = run(broker, "reset", path)
    release()
    assert (done.returncode, done.stdout) == (2, "")
    assert "a worker on this host still has the state directory" in done.stderr
    assert "stop it first" in done.stderr


def test_reset_names_input_topics_that_are_not_there(broker: Broker, tmp_path: Path) -> None:
    done = run(broker, "reset", program(tmp_path, "nowhere", "nothing", name="never"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing to reset: input topics nothing, nowhere do not exist" in done.stderr
    done = run(broker, "reset", program(tmp_path, "lines", "nowhere", name="half"))
    assert done.returncode == 0, done.stderr
    assert "left out: input topic nowhere does not exist" in done.stdout
    assert "group half: 2 offsets set" in done.stdout
