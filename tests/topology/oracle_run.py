"""Runs a case through our tasks, and reads the oracle's answer to the same case.

Records are compared as bytes: (key, value, time) per topic, repartition topics included.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from typing import Any

from streamkit.testing import TopologyTestDriver
from tests.topology.oracle_cases import Case, app_of

Outcome = dict[str, list[list[Any]]]
"""Per topic, the records as [key, value, time]; bytes are base64."""


def asks_for_bytes(case: Case) -> Case:
    """The case, so that the oracle answers with bytes."""
    topics = sorted({op["topic"] for op in case["topology"] if op["op"] == "to"})
    raw = [{"topic": topic, "key": "bytes", "value": "bytes"} for topic in topics]
    return {**case, "read": {"topics": raw, "internal": True}}


def kafka_wrote(answer: dict[str, Any]) -> Outcome:
    """What the oracle says that Kafka Streams wrote, changelogs aside."""
    written: Outcome = defaultdict(list)
    for record in answer["outputs"]:
        written[record["topic"]].append([record["key"], record["value"], record["ts"]])
    for record in answer.get("internal", []):
        if record["topic"].endswith("-repartition"):
            row = [record["key_bytes"], record["value_bytes"], record["ts"]]
            written[record["topic"]].append(row)
    return dict(written)


def kafka_dropped(answer: dict[str, Any]) -> int:
    """How many records Kafka Streams counted as dropped."""
    dropped: int = answer["metrics"]["dropped-records-total"]
    return dropped


def we_write(case: Case) -> tuple[Outcome, int]:
    """What our operators write for the case's input, and how many records they drop."""
    with TopologyTestDriver(app_of(case).topology) as driver:
        for event in case["input"]:
            key, value = (_bytes(event[side]) for side in ("key", "value"))
            driver.pipe_bytes(event["topic"], key, value, at=event["ts"])
        written: Outcome = defaultdict(list)
        for record in driver.written:
            topic = record.tp.topic
            if not topic.endswith("-changelog"):
                row = [_base64(record.key), _base64(record.value), record.timestamp]
                written[topic].append(row)
        return dict(written), driver.dropped


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
