"""A stand-in for a schema registry: the part of Confluent's API that serializers use, over HTTP."""

from __future__ import annotations

import base64
import json
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, Any]


class RegistryServer:
    """On a free port of the loopback; as in Confluent's, equal schemas have one id everywhere.

    `fails_with` is the status of every answer while it is set; `requests` is what was asked.
    """

    def __init__(self, *, port: int = 0, user_info: str | None = None, first_id: int = 701) -> None:
        self.fails_with: int | None = None
        self.requests: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.schemas: dict[int, dict[str, Any]] = {}
        self._first_id = first_id
        self._user_info = user_info
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, body: dict[str, Any], authorization: str) -> Answer:
        """Status and JSON."""
        self.requests.append(f"{method} {path}")
        if self.fails_with is not None:
            return self.fails_with, {"error_code": self.fails_with, "message": "in trouble"}
        wanted = "" if self._user_info is None else _basic(self._user_info)
        if wanted and authorization != wanted:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        match method, [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]:
            case "POST", ["subjects", subject, "versions"]:
                return 200, self._register(subject, body)
            case "POST", ["subjects", subject]:
                return self._look_up(subject, body)
            case "GET", ["subjects", subject, "versions", version]:
                return self._version(subject, version)
            case "GET", ["schemas", "ids", schema_id]:
                return self._schema(self.schemas.get(int(schema_id)), schema_id)
            case "GET", ["schemas", "guids", guid]:
                found = [each for each in self.schemas.values() if each["guid"] == guid]
                return self._schema(found[0] if found else None, guid)
            case "GET", ["subjects"]:
                return 200, list(self.subjects)
        return 404, {"error_code": 404, "message": f"no such resource: {path}"}

    def _register(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        schema_id = self._id_of(body)
        if schema_id is None:
            schema_id = self._first_id + len(self.schemas)
            known = {name: body[name] for name in ("schema", "schemaType") if name in body}
            guid = str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(body, sort_keys=True)))
            references = body.get("references") or []
            self.schemas[schema_id] = {**known, "references": references, "guid": guid}
        versions = self.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return self._registered(subject, schema_id)

    def _look_up(self, subject: str, body: dict[str, Any]) -> Answer:
        if subject not in self.subjects:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        schema_id = self._id_of(body)
        if schema_id not in self.subjects[subject]:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self._registered(subject, schema_id)

    def _version(self, subject: str, version: str) -> Answer:
        versions = self.subjects.get(subject)
        if not versions:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        number = len(versions) if version == "latest" else int(version)
        return 200, self._registered(subject, versions[number - 1])

    def _registered(self, subject: str, schema_id: int) -> dict[str, Any]:
        version = self.subjects[subject].index(schema_id) + 1
        return {"subject": subject, "id": schema_id, "version": version, **self.schemas[schema_id]}

    def _schema(self, found: dict[str, Any] | None, name: str) -> Answer:
        if found is None:
            return 404, {"error_code": 40403, "message": f"Schema {name} not found"}
        return 200, found

    def _id_of(self, body: dict[str, Any]) -> int | None:
        wanted = (body["schema"], body.get("schemaType", "AVRO"), body.get("references") or [])
        for schema_id, each in self.schemas.items():
            if (each["schema"], each.get("schemaType", "AVRO"), each["references"]) == wanted:
                return schema_id
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve("GET")

            def do_POST(self) -> None:
                self._serve("POST")

            def _serve(self, method: str) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else {}
                authorization = self.headers.get("Authorization", "")
                status, answer = registry.answer(method, self.path, body, authorization)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _basic(user_info: str) -> str:
    return "Basic " + base64.b64encode(user_info.encode()).decode()


def subject_of(request: str) -> str | None:
    """The `subject=` that a look-up was made under."""
    return parse_qs(urlsplit(request.split(" ")[1]).query).get("subject", [None])[0]
