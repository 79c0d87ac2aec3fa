"""`streamkit consume`: the records of a topic, printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click
import orjson

from streamkit.cli.configuration import DEFAULT_LISTEN, read_settings, settings_options
from streamkit.cli.values import choice, shown
from streamkit.client.consumer import Consumer
from streamkit.client.records import ConsumerRecord
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import run_loop, system_seams

POLL_MS = 500
API_TIMEOUT_MS = 5000
"""A person waits for the answer: a cluster that is not there is said before Kafka's minute."""

_Show = Callable[[ConsumerRecord], None]


@click.command(name="consume")
@click.argument("topic")
@click.option("--bootstrap", metavar="HOST:PORT[,...]", default=DEFAULT_LISTEN, show_default=True)
@click.option("--key", "key_type", type=choice, default="str", show_default=True)
@click.option("--value", "value_type", type=choice, default="str", show_default=True)
@click.option("--partition", type=click.IntRange(0), help="One partition only; default: all.")
@click.option("--follow", is_flag=True, help="Wait for more at the end, until Ctrl-C.")
@click.option("--max", "count_max", type=click.IntRange(1), help="Stop after so many records.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@settings_options
def command(
    topic: str,
    bootstrap: str,
    key_type: str,
    value_type: str,
    partition: int | None,
    follow: bool,
    count_max: int | None,
    as_json: bool,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Print the records of TOPIC from its start: key, tab, value."""
    seams = system_seams()
    settings = {
        "bootstrap.servers": bootstrap,
        "auto.offset.reset": "earliest",
        "default.api.timeout.ms": str(API_TIMEOUT_MS),
        **read_settings(seams.disk, assignments, config),
    }

    def show(record: ConsumerRecord) -> None:
        key, value = shown(record.key, key_type), shown(record.value, value_type)
        if not as_json:
            click.echo(f"{key}\t{value}")
            return
        row = {
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "key": None if record.key is None else key,
            "value": None if record.value is None else value,
        }
        click.echo(orjson.dumps(row).decode())

    printer = _Printer(topic, partition, follow, count_max)
    run_loop(printer.run(settings, seams, show))


class _Printer:
    """Reads the topic and shows what comes, up to its end or for ever."""

    def __init__(
        self, topic: str, partition: int | None, follow: bool, count_max: int | None
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._follow = follow
        self._left = count_max

    async def run(self, settings: Mapping[str, str], seams: Seams, show: _Show) -> None:
        async with Consumer(settings, seams=seams) as consumer:
            partitions = await self._partitions(consumer)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            while self._follow or not await _reached(consumer, ends):
                for batch in await consumer.poll(POLL_MS):
                    for record in batch.records():
                        show(record)
                        if self._is_last():
                            return

    def _is_last(self) -> bool:
        if self._left is None:
            return False
        self._left -= 1
        return self._left == 0

    async def _partitions(self, consumer: Consumer) -> list[TopicPartition]:
        found = await consumer.partitions_of(self._topic)
        if not found:
            raise UsageError(f"there is no topic {self._topic!r}")
        if self._partition is None:
            return found
        wanted = TopicPartition(self._topic, self._partition)
        if wanted not in found:
            raise UsageError(f"topic {self._topic!r} has {len(found)} partitions, from 0")
        return [wanted]


async def _reached(consumer: Consumer, ends: Mapping[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True
