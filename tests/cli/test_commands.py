"""What the commands print and do."""

from __future__ import annotations

import json

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, read_confluent
from tests.harness import streamkit


def test_version_says_which_variant_runs() -> None:
    done = streamkit("--version")
    assert done.stdout.startswith("streamkit 0.")
    assert "(compiled)" in done.stdout or "(interpreted)" in done.stdout


def test_describe_has_four_formats() -> None:
    texts = {
        form: streamkit("topology", "describe", "examples/word_count.py", "--format", form).stdout
        for form in ("text", "json", "mermaid", "dot")
    }
    assert texts["text"].startswith("Topologies:\n   Sub-topology: 0\n")
    assert texts["text"].endswith("\n\n")
    assert json.loads(texts["json"])
    assert texts["mermaid"].lstrip().startswith(("graph", "flowchart"))
    assert texts["dot"].startswith("digraph")


def test_produced_records_are_read_by_a_foreign_client_and_by_consume() -> None:
    with Broker() as broker:
        create_topics(broker.bootstrap, 1, "pairs")
        at = ("--bootstrap", broker.bootstrap)
        done = streamkit(
            "produce", "pairs", *at, "--key-separator", ":", "--value", "int", stdin="a:7\nb:-9\n"
        )
        assert done.returncode == 0, done.stderr
        rows = read_confluent(broker.bootstrap, "pairs", 1)
        shown = streamkit("consume", "pairs", *at, "--value", "int")
    assert rows == [(b"a", (7).to_bytes(8, "big")), (b"b", (-9).to_bytes(8, "big", signed=True))]
    assert shown.stdout == "a\t7\nb\t-9\n"
