"""What a broker counts while it works: requests and their times, records and bytes by topic.

The names are Kafka's, as its JMX beans look through the usual Prometheus exporter. What can be
read off the broker's parts when somebody asks is in `metrics_view`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

from streamkit.broker.kraft.image import MetadataDelta, MetadataImage
from streamkit.common.metrics import Counter, Distribution, Family, Kind, Registry, Sample
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

TOPIC = "kafka_server_brokertopicmetrics_"
REQUEST = "kafka_network_requestmetrics_"


@dataclass(slots=True)
class TopicCounts:
    """The counters of one topic; hot code adds to them."""

    messages_in: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_rejected: int = 0
    produce_requests: int = 0
    fetch_requests: int = 0
    failed_produce_requests: int = 0
    failed_fetch_requests: int = 0


_TOPIC_FAMILIES: Mapping[str, tuple[str, str]] = {
    "messages_in": ("messagesin_total", "Records that producers appended."),
    "bytes_in": ("bytesin_total", "Bytes of record batches from producers."),
    "bytes_out": ("bytesout_total", "Bytes of record batches to consumers."),
    "bytes_rejected": ("bytesrejected_total", "Bytes of record batches that were too large."),
    "produce_requests": ("totalproducerequests_total", "Partitions in Produce requests."),
    "fetch_requests": ("totalfetchrequests_total", "Partitions that Fetch requests read."),
    "failed_produce_requests": ("failedproducerequests_total", "Partitions refused of Produce."),
    "failed_fetch_requests": ("failedfetchrequests_total", "Partitions refused of Fetch."),
}


class RequestTimes:
    """One API in one version: how many requests, and their measures."""

    __slots__ = ("_bytes", "_count", "_local", "_remote", "_total")

    def __init__(
        self,
        count: Counter,
        size: Distribution,
        total: Distribution,
        local: Distribution,
        remote: Distribution,
    ) -> None:
        self._count = count
        self._bytes = size
        self._total = total
        self._local = local
        self._remote = remote

    def note(self, size: int, total_ms: float, waited_ms: float) -> None:
        """One request was answered, of which `waited_ms` it waited in purgatory."""
        self._count.value += 1
        self._bytes.observe(size)
        self._total.observe(total_ms)
        self._local.observe(total_ms - waited_ms)
        self._remote.observe(waited_ms)


class BrokerMetrics:
    """The counters of one node, and the registry that shows all of its metrics."""

    def __init__(self) -> None:
        registry = self.registry = Registry()
        self._topics: dict[str, TopicCounts] = {}
        self._deleted = TopicCounts()
        self._times: dict[tuple[int, int], RequestTimes] = {}
        self._requests = registry.counters(
            f"{REQUEST}requests_total", "Requests answered.", "request", "version"
        )
        self.errors = registry.counters(
            f"{REQUEST}errors_total", "Error codes in answers.", "request", "error"
        )
        self.produced = self.errors.of("Produce", "NONE")
        self.fetched = self.errors.of("Fetch", "NONE")
        self._bytes = registry.distributions(
            f"{REQUEST}requestbytes", "Bytes of a request.", "request"
        )
        self._total = registry.distributions(
            f"{REQUEST}totaltimems", "Milliseconds from a request's frame to its answer.", "request"
        )
        self._local = registry.distributions(
            f"{REQUEST}localtimems", "Milliseconds of it that were work here.", "request"
        )
        self._remote = registry.distributions(
            f"{REQUEST}remotetimems",
            "Milliseconds of it that it waited for records or followers.",
            "request",
        )
        self.delayed = registry.gauges(
            "kafka_server_delayedoperationpurgatory_numdelayedoperations",
            "Requests that wait for records or followers.",
            "delayedOperation",
        )
        self.delayed_fetches = self.delayed.of("Fetch")
        self.delayed_produces = self.delayed.of("Produce")
        self.expired_fetches = registry.counters(
            "kafka_server_delayedfetchmetrics_expires_total",
            "Fetch requests whose time was up before there was enough.",
            "fetcherType",
        ).of("consumer")
        self.expired_produces = registry.counter(
            "kafka_server_delayedproducemetrics_expires_total",
            "Partitions of Produce whose time was up before they were committed.",
        )
        self._offset_commits = registry.counter(
            "kafka_server_group_coordinator_metrics_offset_commit_count", "Offsets committed."
        )
        registry.add_collector(self._topic_families)

    def topic(self, name: str) -> TopicCounts:
        """The counters of a topic; they are shown as soon as they are not zero."""
        counts = self._topics.get(name)
        if counts is None:
            counts = self._topics[name] = TopicCounts()
        return counts

    def times(self, api: int, version: int) -> RequestTimes:
        """Where the requests of an API in a version are noted."""
        found = self._times.get((api, version))
        if found is None:
            name = request_name(api)
            found = self._times[api, version] = RequestTimes(
                self._requests.of(name, str(version)),
                self._bytes.of(name),
                self._total.of(name),
                self._local.of(name),
                self._remote.of(name),
            )
        return found

    def count_offset_commits(self, codes: Iterable[ErrorCode]) -> None:
        """Offsets were committed where the code says so."""
        self._offset_commits.value += sum(code is ErrorCode.none for code in codes)

    def forget_deleted(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """Follow the metadata: deleted topics are shown no more."""
        for name in delta.topics_deleted.values():
            gone = None if name in image.topics else self._topics.pop(name, None)
            if gone is not None:
                for field in fields(TopicCounts):
                    total = getattr(self._deleted, field.name) + getattr(gone, field.name)
                    setattr(self._deleted, field.name, total)

    def note_errors(self, api: int, codes: Iterable[ErrorCode]) -> None:
        """Count the error codes of an answer."""
        name = request_name(api)
        for code in codes:
            self.errors.of(name, code.name.upper()).value += 1

    def _topic_families(self) -> Iterator[Family]:
        for field in fields(TopicCounts):
            suffix, text = _TOPIC_FAMILIES[field.name]
            values = {topic: getattr(each, field.name) for topic, each in self._topics.items()}
            total = getattr(self._deleted, field.name) + sum(values.values())
            # As Kafka has it: without a label is what all topics have in common.
            samples = [Sample((), total)]
            samples += [
                Sample((("topic", each),), value) for each, value in values.items() if value
            ]
            yield Family(TOPIC + suffix, Kind.COUNTER, text, samples, ("topic",))


def request_name(api: int) -> str:
    """The name of an API in Kafka's metrics: `InitProducerId`."""
    return "".join(word.capitalize() for word in ApiKey(api).name.split("_"))
