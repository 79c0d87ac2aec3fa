"""Each mistake a user makes is one line that says what to do, and an exit status that is not 0."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamkit.testing.broker import Broker
from tests.harness import streamkit

PROGRAM = "examples/word_count.py"


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config={"auto.create.topics.enable": "false"}) as running:
        yield running


def one_line(*arguments: str, status: int = 2) -> str:
    """Run the command and check the shape of its complaint; the line."""
    done = streamkit(*arguments)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == status, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("streamkit: ")
    return lines[0]


def program(directory: Path, text: str) -> str:
    path = directory / "program.py"
    path.write_text(text)
    return str(path)


def test_unknown_worker_key_names_the_near_one() -> None:
    line = one_line("worker", PROGRAM, "--bootstrap", "x:1", "--set", "comit.interval.ms=1")
    assert "unknown configuration key 'comit.interval.ms'" in line
    assert "did you mean 'commit.interval.ms'" in line


def test_bad_value_names_the_key() -> None:
    line = one_line("worker", PROGRAM, "--bootstrap", "x:1", "--set", "commit.interval.ms=soon")
    assert "commit.interval.ms" in line
    assert "'soon'" in line


def test_unknown_guarantee_names_those_there_are() -> None:
    line = one_line(
        "worker", PROGRAM, "--bootstrap", "x:1", "--set", "processing.guarantee=exactly_once"
    )
    assert "exactly_once_v2" in line
    assert "at_least_once" in line


def test_worker_without_a_cluster_says_so() -> None:
    assert "bootstrap" in one_line("worker", PROGRAM)


def test_unknown_broker_key_names_the_near_one(tmp_path: Path) -> None:
    line = one_line("broker", "start", "--data", str(tmp_path), "--set", "log.segment.byte=1048576")
    assert "did you mean 'log.segment.bytes'" in line


def test_program_that_does_not_import_names_the_line(tmp_path: Path) -> None:
    path = program(tmp_path, "import streamkit\n\nimport nowhere_to_be_found\n")
    line = one_line("worker", path, "--bootstrap", "x:1")
    assert "ModuleNotFoundError" in line
    assert "(line 3)" in line


def test_line_is_the_programs_own_whatever_its_name(tmp_path: Path) -> None:
    """One that is called app.py is not streamkit's own app.py, where the error was raised."""
    path = tmp_path / "app.py"
    path.write_text('import streamkit\n\napp = streamkit.App("a", config={"poll.ms": "-5"})\n')
    line = one_line("topology", "describe", str(path))
    assert "poll.ms" in line
    assert "(line 3)" in line


def test_missing_program_file() -> None:
    assert "no program file nowhere.py" in one_line("topology", "describe", "nowhere.py")


def test_program_without_an_app(tmp_path: Path) -> None:
    line = one_line("topology", "describe", program(tmp_path, "x = 1\n"))
    assert "defines no streamkit.App" in line


def test_operator_whose_serde_is_unknown_names_operator_topic_and_fix(tmp_path: Path) -> None:
    text = (
        "import streamkit as sk\n"
        "app = sk.App('lost')\n"
        "words = app.topic('words', key=str, value=str)\n"
        "app.stream(words).map_values(lambda value: object()).to('things')\n"
    )
    line = one_line("topology", "describe", program(tmp_path, text))
    assert "things" in line
    assert "value=" in line


def test_missing_topic_with_auto_create_off(broker: Broker, tmp_path: Path) -> None:
    line = one_line("produce", "nothing", "x", "--bootstrap", broker.bootstrap)
    assert "'nothing'" in line


def test_worker_without_its_source_topic_names_it(broker: Broker, tmp_path: Path) -> None:
    done = streamkit(
        "worker", PROGRAM, "--bootstrap", broker.bootstrap, "--set", f"state.dir={tmp_path}"
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "lines" in last, done.stderr


def test_port_in_use_names_the_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = one_line("broker", "start", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path))
    assert str(port) in line
    assert "in use" in line


def test_data_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with Broker(data, {"cluster.id": "Af-mTzhFRUyMnD9zQQpnRA"}):
        pass
    line = one_line(
        "broker", "start", "--listen", "127.0.0.1:0", "--data", data,
        "--set", "cluster.id=Bg-mTzhFRUyMnD9zQQpnRA",
    )  # fmt: skip
    assert "Af-mTzhFRUyMnD9zQQpnRA" in line
    assert "Bg-mTzhFRUyMnD9zQQpnRA" in line


def test_unreachable_cluster_is_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = one_line(
        "consume", "words", "--bootstrap", f"127.0.0.1:{port}",
        "--set", "default.api.timeout.ms=500", status=1,
    )  # fmt: skip
    assert str(port) in line


def test_wrong_option_is_one_line() -> None:
    assert "--proceses" in one_line("worker", PROGRAM, "--proceses", "2")


def test_help_of_every_command_works() -> None:
    for words in (
        [], ["run"], ["worker"], ["broker"], ["broker", "start"], ["topology"],
        ["topology", "describe"], ["produce"], ["consume"],
    ):  # fmt: skip
        done = streamkit(*words, "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage: streamkit" in done.stdout


def test_no_command_shows_the_help_in_lines() -> None:
    done = streamkit()
    assert done.returncode == 2
    assert "\n  worker " in done.stderr


def test_configuration_file_that_cannot_be_read(tmp_path: Path) -> None:
    line = one_line("worker", PROGRAM, "--bootstrap", "x:1", "--config", str(tmp_path))
    assert "cannot read the configuration file" in line


def test_value_is_named_once() -> None:
    line = one_line("worker", PROGRAM, "--bootstrap", "nocolon")
    assert line.count("nocolon") == 1


def test_port_that_no_machine_has(tmp_path: Path) -> None:
    line = one_line("broker", "start", "--listen", "127.0.0.1:80000", "--data", str(tmp_path))
    assert "65535" in line


def test_run_refuses_a_cluster(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    line = one_line("run", PROGRAM, "--data", data, "--set", "bootstrap.servers=kafka-1:9092")
    assert "streamkit worker" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "reads no topic"),
        ("app.stream('a', key=str, value=str).to('b')\napp.main()\n", "__name__"),
        ("app.topic('a', key='str', value=str)\n", "without quotes"),
        ("@app.processor\ndef f(value: str) -> None: ...\n", "@app.processor("),
        (
            "@app.processor(app.topic('a', key=str, value=str))\ndef f() -> None: ...\n",
            "takes nothing",
        ),
        (
            "s = app.stream('a', key=str, value=str).group_by_key()\n"
            "s.count(name='one')\ns.count(name='one')\n",
            "name one",
        ),
    ],
    ids=["empty", "unguarded-main", "quoted-type", "bare-decorator", "no-parameter", "one-store"],
)
def test_mistake_in_a_program(tmp_path: Path, text: str, said: str) -> None:
    path = program(tmp_path, f"import streamkit as sk\napp = sk.App('mistaken')\n{text}")
    assert said in one_line("worker", path, "--bootstrap", "127.0.0.1:1")
