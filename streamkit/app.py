"""`App`: what a user holds.

Declaring is free: importing a program makes no connection, starts no loop, touches no file.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from streamkit.common.errors import ConfigError, TopologyError
from streamkit.serdes.serde import Serde
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.decorator import ProcessorEnd, ProcessorInto, RekeyingInto
from streamkit.topology.dsl.global_stores import global_store
from streamkit.topology.dsl.global_tables import GlobalTable, global_table
from streamkit.topology.dsl.low_level import Topology as TopologyBuilder
from streamkit.topology.dsl.options import Materialized, materialized
from streamkit.topology.dsl.processor import Processor
from streamkit.topology.dsl.resources import resource_of
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import Side, said
from streamkit.topology.dsl.sources import (
    TimestampChoice,
    consumed,
    default_extractor,
    differences,
    write_source,
)
from streamkit.topology.dsl.storing import keeps_headers, keeps_on_disk
from streamkit.topology.dsl.stream import Stream
from streamkit.topology.dsl.table import Table
from streamkit.topology.dsl.table_sources import table_of_topic
from streamkit.topology.dsl.topic import Topic
from streamkit.topology.failures import (
    Policies,
    PolicyChoice,
    UncaughtChoice,
    policy_of,
    uncaught_of,
)
from streamkit.topology.graph.logical import GraphNode, StreamSource
from streamkit.topology.graph.names import check_all_named, check_name
from streamkit.topology.graph.optimize import optimizations_of
from streamkit.topology.graph.physical import WINDOW_CHANGELOG_EXTRA_MS
from streamkit.topology.operators.asynchronous import CONCURRENCY
from streamkit.topology.plan import Topology
from streamkit.topology.wrapping import Wrapper, wrapped, wrapper_of

if TYPE_CHECKING:
    from streamkit.tasks.embedding import EmbeddedWorker
    from streamkit.tasks.listeners import (
        Listeners,
        StandbyUpdateListener,
        StateRestoreListener,
    )
    from streamkit.tasks.states import StateListener
    from streamkit.testing.driver import TopologyTestDriver

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
R = TypeVar("R")

_TYPES_BY_NAME: Mapping[str, object] = {
    kind.__name__: kind for kind in (str, bytes, int, float, bool, dict, list)
}

TopicOrName = Topic[Any, Any] | str


class App:
    """A stream program: an application id, configuration, topics and operators.

    >>> app = App("shop")
    >>> words = app.topic("words", key=str, value=str)
    >>> app.stream(words).map_values(str.upper, value=str).to("shouts")
    """

    def __init__(
        self,
        application_id: str,
        /,
        *,
        config: Mapping[str, object] | None = None,
        topology: TopologyBuilder | None = None,
        on_error: PolicyChoice = None,
        on_deserialization_error: PolicyChoice = None,
        on_production_error: PolicyChoice = None,
        on_dropped: PolicyChoice = None,
        on_restore: StateRestoreListener | None = None,
        on_standby_update: StandbyUpdateListener | None = None,
        on_uncaught: UncaughtChoice = None,
        on_state: StateListener | None = None,
    ) -> None:
        """`topology` is one of the Processor API.

        The others say what is done about a record that fails: "fail" (the default), "skip",
        `streamkit.dead_letter(topic)`, or a function of the `Failure` that gives one of them.
        `on_error` is for all that have none of their own; `on_dropped` is for late records and
        those without the key that an operator or a repartition needs, which are logged by default;
        it is asked once for a record, and only if that was dropped wholly.
        `on_uncaught` is what a worker does that has failed: "stop" (the default), "replace" itself,
        or "stop_application", which ends all workers.
        `on_restore` and `on_standby_update` are told how stores come up to their changelogs,
        `on_state(new, old)` of each worker's `State`.
        """
        if not isinstance(application_id, str):
            raise TopologyError(
                f"App({application_id!r}): the application id is a text, as in App('shop')"
            )
        if not isinstance(topology, TopologyBuilder | None):
            raise TopologyError(
                f"App({application_id!r}, topology=...) at {call_site()}: "
                f"{'an' if isinstance(topology, App) else 'a'} {type(topology).__name__} is no "
                "streamkit.Topology: give what its add_source() and its kin were called on"
            )
        self.id = check_name(application_id)
        self.config: dict[str, object] = {}
        self._scope = Scope()
        self._optimizations: frozenset[str] = frozenset()
        self._needs_names = False
        self._wrapper: Wrapper | None = None
        self._window_extra_ms = WINDOW_CHANGELOG_EXTRA_MS
        self._topology = topology
        self._on_restore = on_restore
        self._on_standby_update = on_standby_update
        self._on_state = on_state
        general = policy_of(on_error)
        self._policies = Policies(
            policy_of(on_deserialization_error, "on_deserialization_error") or general,
            general,
            policy_of(on_production_error, "on_production_error") or general,
            policy_of(on_dropped, "on_dropped"),
            uncaught=uncaught_of(on_uncaught),
        )
        self._compiled: tuple[int, Topology] | None = None
        if config:
            self.configure(config)

    def configure(self, config: Mapping[str, object]) -> None:
        """Add to the configuration, by Kafka's keys; later values win.

        Raises ConfigError, naming the key, when one is unknown or its value is refused.
        """
        from streamkit.tasks.settings import StreamsSettings

        if not isinstance(config, Mapping):
            raise ConfigError(
                f"config={config!r}: give a mapping of keys to values, as in "
                "{'processing.guarantee': 'at_least_once'}"
            )
        if str(config.get("application.id", self.id)) != self.id:
            raise ConfigError(
                f"application.id={config['application.id']}: the application id, {self.id!r}, is "
                "App's first argument: say it there only"
            )
        merged = {**self.config, **config}
        settings = StreamsSettings.from_mapping({**merged, "application.id": self.id})
        self._needs_names = settings.ensure_explicit_internal_resource_naming
        self._window_extra_ms = settings.windowstore_changelog_additional_retention_ms
        self._optimizations = optimizations_of(str(merged.get("topology.optimization", "none")))
        self._wrapper = wrapper_of(merged.get("processor.wrapper.class"))
        self._scope.default_extractor = default_extractor(merged)
        self._scope.keeps_on_disk = keeps_on_disk(merged)
        self._scope.keeps_headers = keeps_headers(merged)
        self._scope.default_key = default_serde(merged, "default.key.serde")
        self._scope.default_value = default_serde(merged, "default.value.serde")
        self.config = merged
        self._compiled = None

    @overload
    def topic(
        self, name: str, *, key: type[K] | Serde[K], value: type[V] | Serde[V]
    ) -> Topic[K, V]: ...

    @overload
    def topic(self, name: str, *, value: type[V] | Serde[V]) -> Topic[Any, V]: ...

    @overload
    def topic(self, name: str, *, key: type[K] | Serde[K]) -> Topic[K, Any]: ...

    @overload
    def topic(self, name: str) -> Topic[Any, Any]: ...

    def topic(self, name: str, *, key: Any = None, value: Any = None) -> Topic[Any, Any]:
        """A topic and the types of its keys and values: `Topic[K, V]`."""
        return Topic(check_name(name), said(key), said(value))

    @overload
    def stream(
        self,
        topic: Topic[K, V],
        *more: Topic[K, V],
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        name: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Stream[K, V]: ...

    @overload
    def stream(
        self,
        topic: str | re.Pattern[str],
        *more: str,
        key: type[K] | Serde[K],
        value: type[V] | Serde[V],
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        name: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Stream[K, V]: ...

    @overload
    def stream(
        self,
        topic: str | re.Pattern[str],
        *more: str,
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        name: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Stream[Any, Any]: ...

    def stream(
        self,
        topic: TopicOrName | re.Pattern[str],
        *more: TopicOrName,
        key: Any = None,
        value: Any = None,
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        name: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Stream[Any, Any]:
        """Read topics as a stream of records.

        `timestamp`: "record" (a negative one is fatal), "log_and_skip", "use_partition_time", or
        a function of the record that gives milliseconds; "wall" is the clock. `offset_reset`:
        where to begin without a committed offset: "earliest", "latest", "none",
        "by_duration:PT1H". `on_error` is what is done with a record that cannot be read.

        A pattern can be described and tested; workers refuse it, since streams groups know topics
        by name only.
        """
        pattern = topic if isinstance(topic, re.Pattern) else None
        topics: list[TopicOrName] = list(more)
        if not isinstance(topic, re.Pattern):
            topics = [topic, *more]
        elif more:
            raise TopologyError("stream(): give one pattern, or topics")
        how = consumed(topics, key, value, timestamp, offset_reset)
        names = _names_of(topics)
        graph = self._scope.graph
        node_name = graph.name_or_new(name, "KSTREAM-SOURCE-")
        source = StreamSource(
            names,
            pattern.pattern if pattern else None,
            offset_reset,
            how,
            functools.partial(differences, self._scope),
            how.line,
        )
        write = write_source(self._scope, node_name, names, pattern, how)
        node = graph.add(GraphNode(node_name, write, source, on_error=policy_of(on_error)))
        return Stream(self._scope, node, how.key, how.value)

    @overload
    def table(
        self,
        topic: Topic[K, V],
        *,
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        node: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Table[K, V]: ...

    @overload
    def table(
        self,
        topic: str,
        *,
        key: type[K] | Serde[K],
        value: type[V] | Serde[V],
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        node: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Table[K, V]: ...

    @overload
    def table(
        self,
        topic: str,
        *,
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        node: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Table[Any, Any]: ...

    def table(
        self,
        topic: TopicOrName,
        *,
        key: Any = None,
        value: Any = None,
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        node: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Table[Any, Any]:
        """Read a topic as the changes of a table; `name` names its store, and makes one.

        `on_error` is what is done with a record that cannot be read.
        """
        how = consumed([topic], key, value, timestamp, offset_reset)
        (topic_name,) = _names_of([topic])
        choice = materialized(name, store)
        policy = policy_of(on_error)
        made, rows = table_of_topic(self._scope, topic_name, how, choice, node, policy)
        return Table(self._scope, made, how.key, how.value, rows, rows.kept_in)

    @overload
    def global_table(
        self,
        topic: Topic[K, V],
        *,
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        node: str | None = None,
    ) -> GlobalTable[K, V]: ...

    @overload
    def global_table(
        self,
        topic: str,
        *,
        key: type[K] | Serde[K],
        value: type[V] | Serde[V],
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        node: str | None = None,
    ) -> GlobalTable[K, V]: ...

    @overload
    def global_table(
        self,
        topic: str,
        *,
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        node: str | None = None,
    ) -> GlobalTable[Any, Any]: ...

    def global_table(
        self,
        topic: TopicOrName,
        *,
        key: Any = None,
        value: Any = None,
        name: str | None = None,
        store: Materialized | None = None,
        timestamp: TimestampChoice = None,
        node: str | None = None,
    ) -> GlobalTable[Any, Any]:
        """Read a topic as a table that every worker has all rows of; `name` names its store."""
        how = consumed([topic], key, value, timestamp, None)
        (topic_name,) = _names_of([topic])
        return global_table(self._scope, topic_name, how, materialized(name, store), node)

    @overload
    def processor(
        self,
        source: Topic[K, V] | Stream[K, V],
        *,
        to: Topic[K, R],
        name: str | None = None,
        stores: Mapping[str, str | StoreBuilder] | None = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> ProcessorInto[K, V, R]: ...

    @overload
    def processor(
        self,
        source: Topic[K, V] | Stream[K, V],
        *,
        to: Topic[K2, R],
        name: str | None = None,
        stores: Mapping[str, str | StoreBuilder] | None = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> RekeyingInto[K, V, K2, R]: ...

    @overload
    def processor(
        self,
        source: Topic[K, V] | Stream[K, V],
        *,
        to: None = None,
        name: str | None = None,
        stores: Mapping[str, str | StoreBuilder] | None = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> ProcessorEnd[K, V]: ...

    def processor(
        self,
        source: Topic[Any, Any] | Stream[Any, Any],
        *,
        to: Topic[Any, Any] | None = None,
        name: str | None = None,
        stores: Mapping[str, str | StoreBuilder] | None = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> ProcessorInto[Any, Any, Any] | RekeyingInto[Any, Any, Any, Any] | ProcessorEnd[Any, Any]:
        """Declare the decorated function as a processor, and give it back unchanged.

        Its first parameter is the value, or `Record[K, V]`; stores (`KeyValue[K, V]`) and
        `Context` come by annotation. It returns R, `R | None`, `Iterator[R]`, or the same with
        `Record[K, R]`. `stores` names the stores of store parameters, or is the
        `streamkit.store(...)` of one. `on_error` is what is done
        about a record that it, its topic or its output fails with; `concurrency` is how many
        calls of an `async def` may be under way in a task.
        """

        if not isinstance(source, Stream | Topic):
            raise TopologyError(
                f"app.processor() got {source!r}: give the topic or stream that it reads, as in "
                "@app.processor(words)"
            )

        policy = policy_of(on_error)

        def declare(function: Callable[..., Any]) -> None:
            stream = source
            if isinstance(stream, Topic):
                stream = self.stream(stream, on_error=policy)
            out = stream.process(
                function, name=name, stores=stores, on_error=policy, concurrency=concurrency
            )
            if to is not None:
                out.to(to, on_error=policy)

        return ProcessorEnd(declare) if to is None else ProcessorInto(declare)

    def resource(self, factory: Callable[[], Iterator[R]] | Callable[[], AsyncIterator[R]]) -> R:
        """Declare a generator that yields a resource: the default of processors' parameters.

            @app.resource
            def database() -> Iterator[Connection]:
                with connect("orders.db") as connection:
                    yield connection

        One for each worker: opened when the first task starts, closed when the last has ended.
        """
        made: Any = resource_of(factory)
        return made  # type: ignore[no-any-return]  # in a processor it is what is yielded

    def add_state_store(self, store: StoreBuilder) -> StoreBuilder:
        """Make a store known by its name, for the `stores=` of processor classes."""
        if not isinstance(store, StoreBuilder):
            raise TopologyError(f"add_state_store({store!r}): give streamkit.store(...)")
        known = self._scope.stores.setdefault(store.name, store)
        if known is not store:
            raise TopologyError(f"a different store {store.name} has already been added")
        return store

    def add_global_store(
        self,
        store: StoreBuilder,
        topic: TopicOrName,
        processor: Callable[[], Processor[Any, Any, Any, Any]],
        *,
        key: Any = None,
        value: Any = None,
        timestamp: TimestampChoice = None,
    ) -> None:
        """A store that every worker has all of, filled by a processor class from a topic.

        Every processor may read it, and none but this one may write.
        """
        (name,) = _names_of([topic])
        how = consumed([topic], key, value, timestamp, None)
        global_store(self._scope, store, name, processor, how)

    @property
    def topology(self) -> Topology:
        """The compiled plan of what is declared so far. Raises TopologyError."""
        low_level = self._topology.writers(self._scope) if self._topology is not None else ()
        version = self._scope.graph.version + len(low_level)
        if self._compiled is None or self._compiled[0] != version:
            built = self._scope.graph.build(
                self.id,
                self._topic_configs(),
                low_level,
                self._optimizations,
                self._window_extra_ms,
            )
            if self._needs_names:
                check_all_named(built)
            policies = replace(self._policies, by_operator=built.policies.by_operator)
            built = wrapped(replace(built, policies=policies), self._wrapper)
            self._compiled = (version, built)
        return self._compiled[1]

    @property
    def listeners(self) -> Listeners:
        """Who is told how stores come up to their changelogs."""
        from streamkit.tasks.listeners import Listeners

        return Listeners(self._on_restore, self._on_standby_update, self._on_state)

    def worker(
        self,
        *,
        bootstrap: str | None = None,
        config: Mapping[str, object] | None = None,
        remain_in_group: bool = False,
    ) -> EmbeddedWorker:
        """A worker of this program inside the caller's: `async with`, or `with`.

            async with sk.Broker() as broker, app.worker(bootstrap=broker.bootstrap):
                ...

        A worker that fails ends by itself: `await worker.wait()` (in a `with` block
        `worker.join()`) waits for that, and leaving the block raises why.
        `config` wins over the app's own. With `remain_in_group` the end of the block keeps the
        membership: the tasks wait for the restart until the session times out. Raises
        ConfigError, TopologyError.
        """
        from streamkit.common.system import system_seams
        from streamkit.tasks.embedding import EmbeddedWorker
        from streamkit.tasks.settings import StreamsSettings

        given = dict(config or {})
        if bootstrap is not None:
            given["bootstrap.servers"] = bootstrap
        self.configure(given)
        settings = StreamsSettings.from_mapping({**self.config, "application.id": self.id})
        if not self.topology.subtopologies:
            raise TopologyError(
                f"app {self.id} reads no topic: declare a stream, a table or a processor"
            )
        return EmbeddedWorker(
            self.topology,
            settings,
            system_seams(),
            self.listeners,
            remains_in_group=remain_in_group,
        )

    def test(
        self,
        *,
        config: Mapping[str, object] | None = None,
        partitions: int = 1,
        now_ms: int = 0,
    ) -> TopologyTestDriver:
        """This program without a broker, for tests: `with app.test() as t`.

        `partitions` is the count of every topic, `now_ms` the wall clock's start.
        """
        from streamkit.testing.driver import TopologyTestDriver

        merged = {**self.config, **(config or {})}
        return TopologyTestDriver(self.topology, merged, partitions=partitions, now_ms=now_ms)

    def main(self, arguments: Sequence[str] | None = None) -> NoReturn:
        """Be the `streamkit` command line for this program, and exit."""
        from streamkit.cli.main import main
        from streamkit.cli.program import refuse_while_loading

        refuse_while_loading()
        main(arguments, app=self)

    def _topic_configs(self) -> dict[str, str]:
        """The configs under `topic.`, for internal topics."""
        prefix = "topic."
        return {
            key.removeprefix(prefix): str(value)
            for key, value in self.config.items()
            if key.startswith(prefix)
        }


def default_serde(config: Mapping[str, object], key: str) -> Side:
    """The configured default: a type, a serde, or the name of a type, such as "str"."""
    choice = config.get(key)
    if isinstance(choice, str):
        if choice not in _TYPES_BY_NAME:
            known = ", ".join(sorted(_TYPES_BY_NAME))
            raise ConfigError(f"{key}={choice}: use one of {known}, a type, or a serde")
        choice = _TYPES_BY_NAME[choice]
    return said(choice)


def _names_of(topics: Sequence[TopicOrName]) -> tuple[str, ...]:
    """The names of topics, each once. Raises TopologyError for what is none."""
    for topic in topics:
        if not isinstance(topic, str | Topic):
            raise TopologyError(f"{topic!r} is no topic: give app.topic(...), a name or a pattern")
    return tuple(dict.fromkeys(check_name(str(topic)) for topic in topics))
