"""Interactive queries as paths; JSON comes back.

    /stores                              the stores of the program
    /hosts                               who has which partitions
    /stores/NAME/hosts?key=K             who has a key
    /stores/NAME/key/K?as_of=            one row; of a versioned store as of a time
    /stores/NAME/versions/K?from=&to=    the versions of a row that held in that time
    /stores/NAME/range?low=&high=        rows by key, both ends included
    /stores/NAME/prefix/P                rows whose key begins so
    /stores/NAME/windows?from=&to=       windows of all keys by start, sessions by end;
                                         with low= and high= of the keys between
    /stores/NAME/windows/K?from=&to=     those of one key

Fields of all: `stale=true` lets standbys answer; `position=TOPIC-PARTITION:OFFSET,...` waits until
the store holds that input; `partition=`, `limit=`, `reverse=true`, `timeout_ms=`, and `next=` for
the next page. `local=true` asks this worker only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from streamkit.common.errors import StreamkitError
from streamkit.common.http import Answer, Request
from streamkit.state.queries import KeyQuery, Query, RangeQuery, VersionsQuery, WindowQuery
from streamkit.tasks.asks import Failure
from streamkit.tasks.queries import ALL
from streamkit.tasks.query_service import (
    QueryRequest,
    QueryService,
    UnknownStoreError,
    UnreadyError,
)
from streamkit.tasks.query_values import (
    dumps,
    key_bytes,
    parse_after,
    parse_position,
)

JSON: Final = "application/json"
TIMEOUT_MS_MAX: Final = 8_000.0
"""Below the time that the server gives a connection."""

_STATUS = {
    Failure.DOES_NOT_EXIST.name: 404,
    Failure.UNKNOWN_QUERY_TYPE.name: 400,
}


class QueryHandler:
    """Answers requests for one worker."""

    def __init__(self, service: QueryService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Answer:
        """What a path gives."""
        try:
            return await self._route(request)
        except UnknownStoreError as error:
            return _problem(404, str(error))
        except (UnreadyError, StreamkitError) as error:
            return _problem(503, str(error))
        except ValueError as error:
            return _problem(400, str(error))

    async def _route(self, request: Request) -> Answer:
        match request.path:
            case ("stores",):
                return _json(200, self._stores())
            case ("hosts",):
                return _json(200, self._hosts())
            case ("stores", name, "hosts"):
                return await self._owners(name, request.fields)
            case ("stores", name, *how):
                return await self._query(name, how, request)
            case _:
                return _problem(404, "there is /stores, /hosts, /metrics, /healthz and /readyz")

    def _stores(self) -> list[dict[str, Any]]:
        return [
            {
                "name": builder.name,
                "kind": builder.kind.value,
                "subtopology": part.id,
                "global": self._service.is_global(part),
            }
            for part in self._service.topology.parts
            for builder in part.stores
        ]

    def _hosts(self) -> list[dict[str, Any]]:
        return [
            {
                "host": each.host,
                "port": each.port,
                "active": [str(tp) for tp in sorted(each.active)],
                "standby": [str(tp) for tp in sorted(each.standby)],
            }
            for each in self._service.hosts()
        ]

    async def _owners(self, name: str, fields: Mapping[str, str]) -> Answer:
        service = self._service
        part, builder = service.store(name)
        if service.is_global(part):
            everybody = [f"{each.host}:{each.port}" for each in service.hosts()]
            told = {"partition": ALL, "active": everybody, "standby": []}
            return _json(200, {"store": name, "partitions": [told]})
        if "key" in fields:
            key = key_bytes(builder.key_serde, service.topic_of(builder), fields["key"])
            numbers = [await service.partition_of(part, key)]
        else:
            numbers = list(range(await service.count(part)))
        owners = []
        for number in numbers:
            active, standby = service.owners(part, number)
            owners.append(
                {
                    "partition": number,
                    "active": [f"{host}:{port}" for host, port in active],
                    "standby": [f"{host}:{port}" for host, port in standby],
                }
            )
        return _json(200, {"store": name, "partitions": owners})

    async def _query(self, name: str, how: Sequence[str], request: Request) -> Answer:
        fields = request.fields
        _, builder = self._service.store(name)
        topic = self._service.topic_of(builder)

        def key_of(text: str | None) -> bytes | None:
            return None if text is None else key_bytes(builder.key_serde, topic, text)

        asked = QueryRequest(
            store=name,
            query=_query_of(how, fields, key_of),
            target="/" + "/".join(quote(part, safe="") for part in request.path),
            fields={name: value for name, value in fields.items() if name != "local"},
            partitions=_partitions(fields),
            is_stale_welcome=_is_true(fields, "stale"),
            bound=parse_position(fields.get("position", "")),
            limit=int(fields.get("limit", "1000")),
            after=parse_after(fields.get("next", "")),
            timeout_ms=min(float(fields.get("timeout_ms", "2000")), TIMEOUT_MS_MAX),
        )
        if _is_true(fields, "local"):
            return _json(200, {"answers": await self._service.local(asked)})
        return _merged(name, await self._service.query(asked))


def _query_of(how: Sequence[str], fields: Mapping[str, str], key_of: Any) -> Query:
    reverse = _is_true(fields, "reverse")
    match how:
        case ["key", text]:
            as_of = fields.get("as_of")
            return KeyQuery(key_of(text), None if as_of is None else int(as_of))
        case ["versions", text]:
            return VersionsQuery(key_of(text), *_times(fields), reverse)
        case ["range"]:
            return RangeQuery(
                key_of(fields.get("low")), key_of(fields.get("high")), reverse=reverse
            )
        case ["prefix", text]:
            return RangeQuery(prefix=key_of(text), reverse=reverse)
        case ["windows", *keys] if len(keys) < 2:
            low, high = key_of(fields.get("low")), key_of(fields.get("high"))
            return WindowQuery(
                key_of(keys[0] if keys else None), *_times(fields), reverse, low, high
            )
        case _:
            raise ValueError(
                "ask /key/K, /versions/K, /range, /prefix/P, /windows or /windows/K of a store"
            )


def _times(fields: Mapping[str, str]) -> tuple[int, int | None]:
    last = fields.get("to")
    return int(fields.get("from", "0")), None if last is None else int(last)


def _merged(name: str, answers: Sequence[Mapping[str, Any]]) -> Answer:
    """All partitions in one: their rows, and what is to be said of each."""
    failures = {each["partition"]: each["failure"] for each in answers if "failure" in each}
    good = [each for each in answers if "failure" not in each]
    after = [f"{each['partition']}:{each['after']}" for each in good if each["after"] is not None]
    told = {
        "store": name,
        "rows": [row | {"partition": each["partition"]} for each in good for row in each["rows"]],
        "partitions": {
            each["partition"]: {
                name: each[name] for name in ("active", "lag", "position", "host") if name in each
            }
            for each in good
        },
        "next": ",".join(after) or None,
    }
    if failures:
        told["failures"] = {
            each["partition"]: {
                "reason": each["failure"],
                "why": each.get("why", Failure[each["failure"]].value),
            }
            for each in answers
            if "failure" in each
        }
    status = 200 if good or not failures else _STATUS.get(next(iter(failures.values())), 503)
    return _json(status, told)


def _partitions(fields: Mapping[str, str]) -> frozenset[int] | None:
    text = fields.get("partition")
    return None if text is None else frozenset(int(number) for number in text.split(","))


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "false").lower() in {"true", "1", ""}


def _json(status: int, told: Any) -> Answer:
    return Answer(status, dumps(told) + "\n", JSON)


def _problem(status: int, text: str) -> Answer:
    return _json(status, {"error": text})
