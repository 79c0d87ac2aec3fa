"""Metrics: counters, gauges and distributions by name and labels, and their text for Prometheus.

Pure and cheap where it is hot: counting is an addition to an attribute, observing two of them and
a store into a ring. Whatever can be read when somebody asks is not counted at all: a collector
gives families at the time of the scrape. Names follow what Kafka's JMX beans are called behind
the usual exporter, `kafka_server_brokertopicmetrics_messagesin_total`. Each metric is written by
one thread; another may read it. Averages and maxima over time are in `sampled`.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

RING_SIZE: Final = 1024
"""How many observations a distribution remembers; a power of two."""
RING_MASK: Final = RING_SIZE - 1

QUANTILES: Final = (
    ("0.50", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.98", 0.98), ("0.99", 0.99), ("0.999", 0.999),
)  # fmt: skip
"""Kafka's percentiles, as the exporter writes them."""

SERIES_MAX: Final = 100_000
"""The most label combinations of one family; more are a mistake in what became a label."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]
"""Names with their values, in the order they are written."""


class Kind(Enum):
    """The types of Prometheus' text format that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: `suffix` is put behind the family's name."""

    labels: Labels
    value: float
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name at one moment."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]
    label_names: tuple[str, ...] = ()


class Counter:
    """A number that only grows. Hot code may add to `value` itself."""

    kind = Kind.COUNTER
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Count."""
        assert amount >= 0, f"a counter cannot go back by {amount}"
        self.value += amount

    def samples(self, labels: Labels) -> Iterator[Sample]:
        """What it shows."""
        yield Sample(labels, self.value)


class Gauge:
    """A number that is what it was set to."""

    kind = Kind.GAUGE
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        """Set it."""
        self.value = value

    def samples(self, labels: Labels) -> Iterator[Sample]:
        """What it shows."""
        yield Sample(labels, self.value)


class Distribution:
    """The sum and number of all observations, and the quantiles of the last `RING_SIZE`."""

    kind = Kind.SUMMARY
    __slots__ = ("_ring", "count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        # Most distributions of a broker never see an observation: no ring before the first.
        self._ring: array[float] | None = None

    def observe(self, value: float) -> None:
        """Note one observation."""
        ring = self._ring
        if ring is None:
            ring = self._ring = array("d", bytes(8 * RING_SIZE))
        ring[self.count & RING_MASK] = value
        self.count += 1
        self.sum += value

    def recent(self) -> list[float]:
        """The observations that are remembered, in growing order."""
        if self._ring is None:
            return []
        return sorted(self._ring[: min(self.count, RING_SIZE)])

    def quantile(self, fraction: float) -> float:
        """The smallest remembered value that `fraction` of them do not exceed; 0 without any."""
        return _quantile(self.recent(), fraction)

    def samples(self, labels: Labels) -> Iterator[Sample]:
        """What it shows."""
        ordered = self.recent()
        for text, fraction in QUANTILES:
            yield Sample((*labels, ("quantile", text)), _quantile(ordered, fraction))
        yield Sample(labels, self.sum, "_sum")
        yield Sample(labels, self.count, "_count")


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    if not ordered:
        return 0.0
    # The small loss keeps a product such as 19.000000000000004 at rank 19.
    rank = math.ceil(fraction * len(ordered) - 1e-9)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


Metric = TypeVar("Metric", Counter, Gauge, Distribution)


class Labelled(Generic[Metric]):
    """The metrics of one name, one for each combination of label values."""

    __slots__ = ("_by_values", "_make", "help", "kind", "label_names", "name")

    def __init__(
        self, name: str, help_text: str, label_names: Sequence[str], make: Callable[[], Metric]
    ) -> None:
        self.name = name
        self.help = help_text
        self.label_names = tuple(label_names)
        self.kind: Kind = make().kind
        self._make: Callable[[], Metric] = make
        self._by_values: dict[tuple[str, ...], Metric] = {}

    def of(self, *values: str) -> Metric:
        """The metric with these label values; hot code keeps it instead of asking again."""
        found = self._by_values.get(values)
        if found is None:
            assert len(values) == len(self.label_names), f"{self.name} has {self.label_names}"
            assert len(self._by_values) < SERIES_MAX, f"{self.name} has too many label values"
            found = self._by_values[values] = self._make()
        return found

    def forget(self, *values: str) -> None:
        """Show the metric with these label values no more, if there is one."""
        self._by_values.pop(values, None)

    def family(self) -> Family:
        """What they show."""
        samples = [
            sample
            for values, metric in list(self._by_values.items())
            for sample in metric.samples(tuple(zip(self.label_names, values, strict=True)))
        ]
        return Family(self.name, self.kind, self.help, samples, self.label_names)


Collector = Callable[[], Iterable[Family]]
"""Gives families when somebody asks."""


class Registry:
    """All metrics of one process, or of one node in it."""

    def __init__(self) -> None:
        self._families: dict[str, Callable[[], Family]] = {}
        self._collectors: list[Collector] = []

    def counters(self, name: str, help_text: str, *label_names: str) -> Labelled[Counter]:
        """Counters by labels."""
        return self._add(Labelled(name, help_text, label_names, Counter))

    def counter(self, name: str, help_text: str) -> Counter:
        """A counter without labels."""
        return self.counters(name, help_text).of()

    def gauges(self, name: str, help_text: str, *label_names: str) -> Labelled[Gauge]:
        """Gauges by labels."""
        return self._add(Labelled(name, help_text, label_names, Gauge))

    def gauge(self, name: str, help_text: str) -> Gauge:
        """A gauge without labels."""
        return self.gauges(name, help_text).of()

    def gauge_of(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A gauge without labels that is read when somebody asks."""
        self._register(name, lambda: Family(name, Kind.GAUGE, help_text, [Sample((), read())]))

    def distributions(self, name: str, help_text: str, *label_names: str) -> Labelled[Distribution]:
        """Distributions by labels."""
        return self._add(Labelled(name, help_text, label_names, Distribution))

    def distribution(self, name: str, help_text: str) -> Distribution:
        """A distribution without labels."""
        return self.distributions(name, help_text).of()

    def add_collector(self, collector: Collector) -> None:
        """Ask `collector` for families at each scrape; their names must be its own."""
        self._collectors.append(collector)

    def families(self) -> Iterator[Family]:
        """Everything, each as it is when its turn comes."""
        for read in list(self._families.values()):
            yield read()
        for collector in list(self._collectors):
            yield from collector()

    def collect(self) -> list[Family]:
        """Everything as it is now, by name."""
        return sorted(self.families(), key=lambda family: family.name)

    def expose(self) -> str:
        """The text that Prometheus reads (format 0.0.4)."""
        return expose(self.collect())

    def pieces(self) -> Iterator[str]:
        """That text, one family after the other: a node of many partitions has much to say."""
        for family in self.families():
            yield expose([family])

    def _add(self, metrics: Labelled[Metric]) -> Labelled[Metric]:
        for label in metrics.label_names:
            assert _LABEL_NAME.fullmatch(label), f"{label!r} is no label name"
        self._register(metrics.name, metrics.family)
        return metrics

    def _register(self, name: str, read: Callable[[], Family]) -> None:
        assert _NAME.fullmatch(name), f"{name!r} is no metric name"
        assert name not in self._families, f"there is a metric {name} already"
        self._families[name] = read


CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `expose` gives."""


def expose(families: Iterable[Family]) -> str:
    """The families as Prometheus' text; one without samples is left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind.value}")
        lines += [
            f"{family.name}{sample.suffix}{_labels_text(sample.labels)} {_number(sample.value)}"
            for sample in family.samples
        ]
    return "\n".join(lines) + "\n" if lines else ""


def _labels_text(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape_value(value)}"' for name, value in labels) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_value(text: str) -> str:
    return _escape(text).replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
