"""What was wrong with a request: RFC 9457. Takes errors that were raised on purpose, and mistakes, gives answers."""

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
    """What was wrong: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": description, "content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    for code, description in (
        (400, "the request is not valid JSON"),
        (401, "a key is needed"),
        (403, "this key, this place, or a page of another site is not allowed"),
        (404, "there is no such thing"),
        (408, "the body did not arrive in time"),
        (409, "it conflicts with the current state"),
        (413, "the body is too large"),
        (415, "the body is not sent as JSON"),
        (421, "without keys only this machine may ask"),
        (422, "the request is invalid; the answer lists every mistake"),
        (429, "too many requests"),
        (500, "a fault of the server, or stored data is damaged"),
        (503, "the cluster does not answer, or the root cannot be reached"),
    )
}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer that says what was wrong."""
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
    body = {"type": "about:blank", "title": titles.get(status, "Error"), "status": status, "detail": detail}
    return JSONResponse(body, status, headers, "application/problem+json")


def status_of(error: DeconvoyError) -> int:
    """The status of an error that was raised on purpose: what the caller did not do is the server's."""
    codes: dict[type[DeconvoyError], int] = {}
    codes |= {RefusedError: 403, RunIdError: 422, RunError: 409, QueryError: 404, ClusterError: 503, RootError: 503}
    codes |= {Unavailable: 503, StoreError: 503, UsageError: 422}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 500)


def problem_of(error: DeconvoyError) -> JSONResponse:
    """The answer to an error that was raised on purpose."""
    return problem(status_of(error), str(error))


def mistakes(error: RequestValidationError) -> JSONResponse:
    """Every mistake of a request that does not have the right form."""
    errors = error.errors()
    if any(each["loc"] == ("body",) and isinstance(each.get("input"), bytes) for each in errors):
        return problem(415, "the body is to be JSON, sent with Content-Type: application/json")
    lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors]
    is_broken = any(each["type"] == "json_invalid" for each in errors)
    return problem(400 if is_broken else 422, "; ".join(lines))
