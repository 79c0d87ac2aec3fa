"""Java's serdes and Kafka Streams, asked live: they say what was recorded for `tests/serdes`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.foreign import KAFKA
from tests.serdes import java_cases, test_subjects

pytestmark = pytest.mark.judge

HERE = Path(__file__).parent


def say(program: str) -> str:
    """What a program of one file says, run with Kafka's jars."""
    jars = subprocess.run([str(KAFKA), "jars"], check=True, capture_output=True, text=True)
    command = ["java", "-Xmx200m", "-cp", jars.stdout.strip(), str(HERE / program)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_java_s_serdes_write_what_was_recorded() -> None:
    assert say("SerdeVectors.java") == java_cases.RECORDED.read_text()


def test_kafka_streams_calls_serdes_under_the_topics_recorded() -> None:
    assert say("SerdeTopics.java") == test_subjects.RECORDED.read_text()
