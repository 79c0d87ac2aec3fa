"""The table of `docs/broker-metrics.md`: every metric of a broker, as its endpoint shows it.

`python -m tests.metrics_table` writes the file anew; a test compares it with the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.common.metrics import Family, Kind
from streamkit.common.process_metrics import process_families
from streamkit.common.system import SystemDisk
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.simulation import Simulation

PATH = Path(__file__).parent.parent / "docs" / "broker-metrics.md"

HEAD = """# Broker metrics

`streamkit broker start --set metrics.listener=127.0.0.1:9404` opens an HTTP port of its own:

| path | what it answers |
| --- | --- |
| `/metrics` | the metrics below, as text for Prometheus |
| `/healthz` | 200; 503 and why when only a restart would help: logs are offline |
| `/readyz` | 200 while requests are answered; 503 before |

The port is off unless it is asked for, takes GET and HEAD, and knows neither TLS nor passwords:
let it listen where only operators come.

Names that begin with `kafka_` are Apache Kafka's, as its JMX beans look through the usual
Prometheus exporter, so that dashboards and alerts made for it go on working; a test runs both under
the same load and compares names and values. Summaries have Kafka's six quantiles, over the last
1,024 observations, and a sum besides. Counters of topics also stand there without a topic: of all
topics together, deleted ones included. The generated table (`python -m tests.metrics_table`):

"""


def families() -> list[Family]:
    """What a broker shows that has one topic."""
    simulation = Simulation(77)
    settings = settings_for("broker:9092", "/data", {"metrics.listener": "broker:9404"})
    node = Node(settings, simulation.seams("broker", MemoryDisk()))

    async def main() -> list[Family]:
        async with node:
            return node.metrics.registry.collect()

    found = {each.name: each for each in simulation.run(main())}
    found.update({each.name: each for each in process_families(SystemDisk())()})
    return [found[name] for name in sorted(found)]


def rows(shown: Sequence[Family]) -> Iterator[str]:
    """One line a metric."""
    yield "| metric | type | labels | meaning |"
    yield "| --- | --- | --- | --- |"
    for family in shown:
        labels = ", ".join(each for each in family.label_names if each != "quantile")
        suffix = " (`_sum`, `_count`)" if family.kind is Kind.SUMMARY else ""
        yield f"| `{family.name}`{suffix} | {family.kind.value} | {labels} | {family.help} |"


def table() -> str:
    """The whole file."""
    return HEAD + "\n".join(rows(families())) + "\n"


if __name__ == "__main__":
    PATH.write_text(table())
