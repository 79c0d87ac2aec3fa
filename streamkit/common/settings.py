"""Settings by Kafka's own keys: typed, with defaults, unknown keys refused.

Each package declares a subclass of `Settings`; the field `commit_interval_ms` is the key
`commit.interval.ms`. Keys that begin with one of the class's `prefixes` are kept as they are in
`prefixed` (`producer.linger.ms`), for the package that they are meant for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from streamkit.common.errors import ConfigError


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A list of texts, written with commas between them."""


class Settings(BaseModel):
    """Base of all settings; construct with `from_mapping`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "."),
        populate_by_name=True,
        arbitrary_types_allowed=True,
        validate_default=False,
    )

    prefixes: ClassVar[tuple[str, ...]] = ()
    prefixed: Mapping[str, str] = Field(default_factory=dict)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """All keys, sorted, as Kafka writes them."""
        return tuple(sorted(_key(name) for name in cls.model_fields if name != "prefixed"))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str = "") -> Self:
        """Check `values` and fill in the defaults.

        `where` names the source (a file, `--set`) in messages. Raises ConfigError for an unknown
        key, with the nearest known one, and for a value that does not fit, with the reason.
        """
        known = set(cls.keys())
        prefixed = {k: _text(v) for k, v in values.items() if k.startswith(cls.prefixes)}
        plain = {k: v for k, v in values.items() if k not in prefixed}
        for key in plain:
            if key not in known:
                raise ConfigError(_unknown(key, known, where))
        try:
            return cls.model_validate({**plain, "prefixed": prefixed})
        except ValidationError as error:
            raise ConfigError(_first_problem(error, where)) from None

    def with_prefix(self, *prefixes: str) -> dict[str, str]:
        """The values under `prefixes`, without the prefix; later prefixes win."""
        found: dict[str, str] = {}
        for prefix in prefixes:
            for key, value in self.prefixed.items():
                if key.startswith(prefix):
                    found[key[len(prefix) :]] = value
        return found

    def to_mapping(self) -> dict[str, Any]:
        """All values by key, the defaults included."""
        return {
            _key(name): getattr(self, name)
            for name in type(self).model_fields
            if name != "prefixed"
        } | dict(self.prefixed)


def parse_assignments(pairs: Iterable[str]) -> dict[str, str]:
    """Read `key=value` texts, as `--set` gives them. Raises ConfigError for one without `=`."""
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{pair!r} is not of the form key=value")
        values[key.strip()] = value.strip()
    return values


def parse_properties(text: str, *, where: str) -> dict[str, str]:
    """Read a Java-style properties file: `key=value` lines, `#` and `!` begin comments."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#!":
            continue
        key, equals, value = stripped.partition("=")
        if not equals:
            raise ConfigError(f"{where}, line {number}: {stripped!r} is not of the form key=value")
        values[key.strip()] = value.strip()
    return values


def _key(name: str) -> str:
    return name.replace("_", ".")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


_ELSEWHERE = {
    "num.stream.threads": (
        "one worker is one thread; for more cores start worker processes: "
        "`streamkit worker PROGRAM --processes N`"
    ),
    "rocksdb.config.setter": "memory.max.bytes bounds RocksDB, in all stores of a worker together",
    "enable.transactional.statestores": "state is written after its commit in any case",
    "task.assignor.class": "the broker assigns tasks",
    "metric.reporters": "metrics are at web.listener, under /metrics",
    "metadata.cluster.check.enable": "leave it out: it has no counterpart",
    "upgrade.from": "leave it out: there is no older format",
    "auto.offset.reset": "say consumer.auto.offset.reset, or offset_reset= of a source",
    "built.in.metrics.version": "leave it out: there is one version",
    "allow.os.group.write.access": "leave it out: the umask of the process decides",
    "config.providers": (
        "read secrets in the program, from os.environ or a file, and give them in config=, or "
        'from the shell: --set key="$VARIABLE"'
    ),
    "connections.max.idle.ms": "leave it out: a connection that was closed is dialled again",
    "default.client.supplier": "leave it out: a worker has its own clients",
    "default.interactive.query.isolation.level": "leave it out: queries read what was committed",
    "default.list.key.serde.inner": "say key=streamkit.serdes.list_of(TYPE) where it is needed",
    "default.list.key.serde.type": "say key=streamkit.serdes.list_of(TYPE) where it is needed",
    "default.list.value.serde.inner": "say value=streamkit.serdes.list_of(TYPE) where it is needed",
    "default.list.value.serde.type": "say value=streamkit.serdes.list_of(TYPE) where it is needed",
    "enable.metrics.push": "leave it out: metrics are at web.listener, under /metrics",
    "log.summary.interval.ms": "leave it out: /metrics at web.listener has what it would say",
    "metrics.num.samples": "leave it out: rates and averages are over two samples of 30 s",
    "metrics.sample.window.ms": "leave it out: rates and averages are over two samples of 30 s",
    "probing.rebalance.interval.ms": "leave it out: the broker moves a task once its state is warm",
    "receive.buffer.bytes": "leave it out: the system sizes its buffers",
    "retries": "leave it out: task.timeout.ms says how long is tried",
    "send.buffer.bytes": "leave it out: the system sizes its buffers",
    "topology.description.push.enabled": "leave it out: heartbeats tell the broker the topology",
    "window.size.ms": "say streamkit.serdes.time_windowed(KEY, SIZE_MS) where it is read",
    "windowed.inner.class.serde": "say streamkit.serdes.time_windowed(KEY, SIZE_MS) instead",
}
"""Keys of Kafka Streams that stand for something else here, and for what."""


def _unknown(key: str, known: set[str], where: str) -> str:
    if key in _ELSEWHERE:
        return f"configuration key {key!r}{_in(where)}: {_ELSEWHERE[key]}"
    near = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown configuration key {key!r}{_in(where)}{hint}"


def _first_problem(error: ValidationError, where: str) -> str:
    problem = error.errors(include_url=False)[0]
    # Validators over several keys have no location; their message names the keys.
    key = str(problem["loc"][0]) if problem["loc"] else ""
    reason = problem["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    if not key:
        return f"{reason}{_in(where)}"
    given = repr(problem["input"])
    if given in reason:
        return f"{_key(key)}: {reason}{_in(where)}"
    return f"{_key(key)}: {reason}, but it is {given}{_in(where)}"


def _in(where: str) -> str:
    return f" in {where}" if where else ""
