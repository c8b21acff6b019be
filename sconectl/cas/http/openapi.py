"""The OpenAPI 3.1 document of the REST interface, made from the table of its routes.

In: rows. Out: the document as plain values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sconectl import __version__
from sconectl.cas.http.routes import ALWAYS, JSON, SCHEMAS, WITH_BODY, Row, reference

_MEANINGS = {
    400: "The request or the session in it is malformed or invalid",
    401: "There is no usable TLS client certificate",
    403: "The access policy, or the attestation, says no",
    404: "There is no such session, service, secret or value",
    405: "This method is not allowed here",
    408: "The request took too long to arrive",
    409: "The session exists with another content, its predecessor or the tag is not current, or another has the lease",
    413: "The body is too large",
    429: "This client address has stored as much as it may",
    431: "The header is too large",
    500: "The CAS is at fault; its log says why",
    503: "The CAS cannot be used now",
    507: "The disk of the CAS is full",
}
_HEADERS = {
    "X-Sconectl-Simulation": {
        "description": "There is no confidential hardware behind this CAS.",
        "required": True,
        "schema": {"const": "true"},
    }
}


def document(rows: Iterable[Row]) -> dict[str, Any]:
    """Return the OpenAPI document of `rows`."""
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sconectl embedded CAS (simulation)",
            "version": __version__,
            "description": "Clients are known by the public key of their TLS certificate; any certificate will do. "
            "Bodies are taken whatever their content type says.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"clientCertificate": {"type": "mutualTLS"}},
        },
    }


def _operation(row: Row) -> dict[str, Any]:
    statuses = sorted({*ALWAYS, *row.refusals, *(WITH_BODY if row.body is not None else ())})
    operation: dict[str, Any] = {
        "operationId": f"{row.method.lower()}_{re.sub('[^a-z0-9]+', '_', row.path.lower()).strip('_')}",
        "summary": row.summary,
        "parameters": [*_path_parameters(row), *_query_parameters(row)],
        "responses": {
            **{
                str(status): _response("Done", row.media_type, row.schema)
                for status in (row.status, *row.other_statuses)
            },
            **{str(status): _response(_MEANINGS[status], JSON, reference("Problem")) for status in statuses},
        },
    }
    if 401 in row.refusals:
        operation["security"] = [{"clientCertificate": []}]
    if row.body is not None:
        content = {media_type: {"schema": row.body} for media_type in row.body_types}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _path_parameters(row: Row) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "description": "May contain slashes, percent-encoded or not.",
        }
        for name in re.findall(r"\{(\w+)\}", row.path)
    ]


def _query_parameters(row: Row) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": name in row.required_query, "schema": schema}
        for name, schema in row.query.items()
    ]


def _response(description: str, media_type: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "headers": _HEADERS, "content": {media_type: {"schema": schema}}}
