"""The table of the REST interface: one row for each method and path, from which routes and OpenAPI document are made.

In: nothing. Out: rows with the form of requests and answers (CAS API section 3; `/v1/sim` is our own). Paths are in
the form of OpenAPI; `route` is the path that matches, where it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
YAML = "application/yaml"
PEM = "application/x-pem-file"

HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TAG = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
TAG_OR_NONE = {"anyOf": [TAG, {"type": "null"}]}
HOST = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,253}$"}
TEXT = {"type": "string"}
VALUE = {"$ref": "#/components/schemas/Value"}


def reference(name: str) -> dict[str, Any]:
    """Return a reference to a schema of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, *, closed: bool = True) -> Any:
    """Return the schema of an object; a closed one has no other keys."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }
    return schema | ({"additionalProperties": False} if closed else {})


RENEWAL = {
    "renew_in": {"type": "integer", "description": "Seconds until the files hold renewed certificates, if they do."}
}
SCHEMAS: Mapping[str, Any] = {
    "Problem": record(
        {
            "msg": {"type": "array", "items": TEXT, "minItems": 1, "description": "Outermost cause first."},
            "version": TEXT,
            "simulation": {"const": True},
        }
    ),
    "Created": record(
        {"hash": HASH},
        {
            "created": {"type": "boolean", "description": "Whether there was no session of this name before."},
            "unchanged": {"const": True, "description": "The active version says the same already; nothing was done."},
            "warnings": {"type": "array", "items": TEXT},
        },
    ),
    "Session": record({"session": {"type": "string", "description": "YAML"}, "hash": HASH}),
    "Sessions": record({"sessions": {"type": "array", "items": record({"name": TEXT}, {"hash": HASH})}}),
    "Hash": record({"hash": HASH}),
    "Value": record(
        {
            "kind": TEXT,
            "value": {"description": "Text; binary values as hex digits, certificates and keys as PEM."},
            "expires": {"type": ["integer", "null"], "description": "Unix time in seconds."},
            "renew": {"type": ["integer", "null"], "description": "Unix time in seconds."},
        }
    ),
    "Values": record({"values": {"type": "object", "additionalProperties": VALUE}}),
    "Attestation": record(
        {
            "report": record(
                {
                    "cas_key": TEXT,
                    "cas_software_key": TEXT,
                    "version": TEXT,
                    "simulation": {"const": True},
                    "nonce": {"type": "string", "pattern": "^([0-9a-f]{2})*$"},
                    "session_encryption_key": HASH,
                    "time": TEXT,
                }
            ),
            "certificate_chain": TEXT,
            "signature": TEXT,
        }
    ),
    "Version": record({"version": TEXT, "simulation": {"const": True}}),
    "Health": record({"status": {"const": "ok"}, "simulation": {"const": True}}),
    "Nonce": record({"nonce": {"type": "string", "pattern": "^([0-9a-f]{2})+$"}}),
    "Quote": record({"quote": {"type": "object"}}),
    "Configuration": record(
        {
            "config": {"type": "object"},
            "version": {"type": "string", "description": "Another one for each version of the session."},
        },
        RENEWAL,
    ),
    "Files": record({"files": {"type": "array", "items": {"type": "object"}}}, RENEWAL),
    "Volumes": record(
        {
            "volumes": {
                "type": "array",
                "items": record(
                    {
                        "name": TEXT,
                        "tag": TAG_OR_NONE,
                        "files": {"enum": ["encrypted", "authenticated-only"]},
                        "in_use": {"anyOf": [record({"by": HOST, "until": TEXT}), {"type": "null"}]},
                        "accepted": {
                            "anyOf": [record({"tag": TAG_OR_NONE, "at": TEXT, "by": TEXT}), {"type": "null"}],
                            "description": "The state that an owner has accepted, until a program moves it on.",
                        },
                    }
                ),
            }
        }
    ),
    "Lease": record(
        {
            "tag": TAG_OR_NONE,
            "seconds": {"type": "integer", "description": "How long the lease is without a renewal; 0: released."},
        }
    ),
    "Tag": record({"tag": TAG_OR_NONE}),
    "Exported": {"type": "object"},
    "Document": {"type": "object"},
}


@dataclass(frozen=True)
class Row:
    """One operation. `handler` is a method of `endpoints.Endpoints`; `refusals` are the statuses of its problems.

    `other_statuses` are those of success besides `status`, with the same schema.
    """

    method: str
    path: str
    handler: str
    summary: str
    schema: Any
    status: int = 200
    other_statuses: tuple[int, ...] = ()
    media_type: str = JSON
    route: str = ""
    body: Any = None
    body_types: tuple[str, ...] = (JSON,)
    query: Mapping[str, Any] = field(default_factory=dict)
    required_query: frozenset[str] = frozenset()
    refusals: tuple[int, ...] = ()

    @property
    def matches(self) -> str:
        """The path in the form of Starlette; names may contain slashes."""
        return self.route or self.path.replace("}", ":path}")


_YAML_BODY = {"type": "string", "description": "A session (YAML or JSON), signed or encrypted session (JSON)."}
_ANY_TYPES = (YAML, JSON, "application/octet-stream", "application/x-www-form-urlencoded")
_UPLOAD = (401, 403, 404, 409, 429, 507)
_READ = (401, 403, 404)
_UPLOADED: dict[str, Any] = {
    "handler": "create",
    "schema": reference("Created"),
    "status": 201,
    "other_statuses": (200,),
    "body": _YAML_BODY,
    "body_types": _ANY_TYPES,
    "refusals": _UPLOAD,
}
_VALUES_ROUTE = "/v1/values/{selector:path}"

ROWS: tuple[Row, ...] = (
    Row("GET", _VALUES_ROUTE.replace("{selector:path}", "session={session},secret={secret}"), "values",
        "Read a public secret", VALUE, route=_VALUES_ROUTE, refusals=(403, 404)),
    Row("GET", _VALUES_ROUTE.replace("{selector:path}", "session={session}"), "values",
        "Read all public secrets of a session", reference("Values"), route=_VALUES_ROUTE, refusals=(403, 404)),
    Row("POST", "/v1/sessions", summary="Create or update a session", **_UPLOADED),
    Row("GET", "/v1/sessions", "list_sessions", "List the sessions in a namespace", reference("Sessions"),
        query={"namespace": TEXT | {"minLength": 1}}, required_query=frozenset({"namespace"}), refusals=_READ),
    Row("GET", "/v1/sessions/{name}", "read", "Read a session, the active version or the one with `hash`",
        reference("Session"), query={"hash": HASH}, refusals=(*_READ, 507)),
    Row("PUT", "/v1/encrypted_sessions", summary="Create or update a session that was encrypted for this CAS",
        **_UPLOADED),
    Row("GET", "/v1/hashes/{name}", "hash_of", "Read the hash of a session's active version", reference("Hash"),
        refusals=_READ),
    Row("POST", "/session", summary="Create or update a session (older path)",
        **{**_UPLOADED, "handler": "create_by_older_path", "other_statuses": ()}),
    Row("GET", "/session/{name}", "read_text", "Read a session as YAML (older path)", {}, media_type=YAML,
        query={"hash": HASH}, refusals=(*_READ, 507)),
    Row("GET", "/v1/attest", "report", "What the CAS can prove about itself", reference("Attestation"),
        query={"nonce": {"type": "string", "pattern": "^([0-9a-f]{2}){1,64}$"}}),
    Row("GET", "/v1/version", "version", "The version of the CAS", reference("Version")),
    Row("GET", "/health", "health", "Health", reference("Health")),
    Row("GET", "/livez", "health", "The process answers", reference("Health")),
    Row("GET", "/readyz", "ready", "The store can be used", reference("Health"), refusals=(503,)),
    Row("GET", "/openapi.json", "openapi", "This document", reference("Document")),
    Row("GET", "/v1/sim/certificate-chain", "certificate_chain", "The issuers of the served certificate", TEXT,
        media_type=PEM),
    Row("POST", "/v1/sim/exports", "export", "Fetch an exported secret (another CAS)", reference("Exported"),
        body={"type": "object"}, refusals=(401, 403, 404, 507)),
    Row("POST", "/v1/sim/nonce", "nonce", "A number for one attestation", reference("Nonce"), refusals=(507,)),
    Row("POST", "/v1/sim/quote", "quote", "The simulated machine signs a report", reference("Quote"),
        body=record({"report": {"type": "object"}}), refusals=(403,)),
    Row("POST", "/v1/sim/attest", "attest", "Attest a program and get its configuration", reference("Configuration"),
        body=record({"config_id": TEXT, "quote": {"type": "object"}}, {"access_token": {"type": ["string", "null"]}}),
        refusals=(401, 403, 404, 409, 429, 507)),
    Row("POST", "/v1/sim/fill", "fill", "Fill the placeholders in files of an attested program", reference("Files"),
        body=record({"files": {"type": "array", "items": record({"path": TEXT, "content": TEXT})}}),
        refusals=(401, 403, 404)),
    Row("GET", "/v1/sim/volumes/{name}", "volumes", "The states of the volumes of a session", reference("Volumes"),
        refusals=_READ),
    Row("POST", "/v1/sim/volumes", "accept", "Move the tag of a volume to the state that its owner names",
        reference("Tag"), body=record({"session": TEXT, "volume": TEXT}, {"old": TAG_OR_NONE, "new": TAG_OR_NONE}),
        refusals=(401, 403, 404, 409, 507)),
    Row("POST", "/v1/sim/leases", "lease", "Take, renew or release the lease on a volume", reference("Lease"),
        body=record({"volume": TEXT, "holder": TAG, "name": HOST, "action": {"enum": ["take", "release"]}}),
        refusals=(401, 403, 404, 409, 429, 507)),
    Row("POST", "/v1/sim/tags", "update_tag", "Move the tag of a volume or file system on", reference("Tag"),
        body=record({"subject": TEXT, "new": TAG}, {"old": TAG_OR_NONE, "holder": TAG_OR_NONE}),
        refusals=(401, 403, 404, 409, 429, 507)),
)  # fmt: skip
"""All operations; the most frequent one first, because routes are tried in this order."""

ALWAYS = (400, 405, 408, 431, 500, 503)
"""Statuses that any operation may answer with: not HTTP, too late, too large, at fault, store not usable."""

WITH_BODY = (413,)
"""What comes on top of it where a body is read."""
