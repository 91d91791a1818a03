"""Error answers of the API: RFC 9457. Takes errors that the package raises and invalid requests, gives JSON answers."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from workers.errors import (
    ClusterError,
    DeconvoyError,
    QueryError,
    RefusedError,
    RootError,
    RunError,
    RunIdError,
    StoreError,
    Unavailable,
    UsageError,
)


class Problem(BaseModel):
    """Details of an error: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": description, "content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    for code, description in (
        (400, "the request is not valid JSON"),
        (401, "a valid API key is required"),
        (
            403,
            "the key's scope does not allow this, a location is not allowed, or the request came "
            "from a page of another site",
        ),
        (404, "not found"),
        (408, "the body did not arrive in time"),
        (409, "the request conflicts with the current state"),
        (413, "the body is too large"),
        (415, "the body was not sent as JSON"),
        (421, "the root has no API keys, so only the server's own machine may use the service"),
        (422, "the request is invalid; the response lists every error"),
        (429, "too many requests"),
        (500, "an internal error, or stored data is damaged"),
        (503, "the cluster or the root does not respond"),
    )
}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer with the details of an error."""
    titles = {400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 409: "Conflict"}
    titles |= {405: "Method not allowed", 500: "Server error"}
    titles |= {
        408: "Request timeout",
        413: "Too large",
        415: "Unsupported media type",
        421: "Misdirected",
        422: "Unprocessable",
        429: "Too many requests",
        503: "Unavailable",
    }
    body = Problem(title=titles.get(status, "Error"), status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, "application/problem+json")


def status_of(error: DeconvoyError) -> int:
    """The HTTP status of an error; 500 for kinds of errors that have no other."""
    codes: dict[type[DeconvoyError], int] = {}
    codes |= {RefusedError: 403, RunIdError: 422, RunError: 409, QueryError: 404, ClusterError: 503, RootError: 503}
    codes |= {Unavailable: 503, StoreError: 503, UsageError: 422}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 500)


def problem_of(error: DeconvoyError) -> JSONResponse:
    """The answer to an error that the package raised."""
    return problem(status_of(error), str(error))


def mistakes(error: RequestValidationError) -> JSONResponse:
    """The answer to an invalid request, with all of its mistakes."""
    errors = error.errors()
    if any(mistake["loc"] == ("body",) and isinstance(mistake.get("input"), bytes) for mistake in errors):
        return problem(415, "send the body as JSON, with Content-Type: application/json")
    lines = [f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in errors]
    is_broken = any(mistake["type"] == "json_invalid" for mistake in errors)
    return problem(400 if is_broken else 422, "; ".join(lines))
