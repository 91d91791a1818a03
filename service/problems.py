"""What was wrong with a request: RFC 9457. Takes errors that were raised on purpose, and mistakes, gives answers."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from workers.errors import ClusterError, DeconvoyError, QueryError, RefusedError, RunError, RunIdError


class Problem(BaseModel):
    """What was wrong: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": told, "content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    for code, told in (
        (400, "the request is no JSON"),
        (401, "a key is needed"),
        (403, "not with this key, or not this place"),
        (404, "there is no such thing"),
        (409, "it is in the way of another"),
        (422, "the request is wrong; every mistake is told"),
        (429, "too many requests"),
        (503, "the cluster does not answer"),
    )
}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer that says what was wrong."""
    titles = {400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 409: "Conflict"}
    titles |= {405: "Method not allowed", 500: "Server error"}
    titles |= {413: "Too large", 421: "Misdirected", 422: "Unprocessable", 429: "Too many requests", 503: "Unavailable"}
    told = {"type": "about:blank", "title": titles.get(status, "Error"), "status": status, "detail": detail}
    return JSONResponse(told, status, headers, "application/problem+json")


def problem_of(error: DeconvoyError) -> JSONResponse:
    """The answer to an error that was raised on purpose."""
    codes = {RefusedError: 403, RunIdError: 422, RunError: 409, QueryError: 404, ClusterError: 503}
    return problem(next((code for kind, code in codes.items() if isinstance(error, kind)), 422), str(error))


def mistakes(error: RequestValidationError) -> JSONResponse:
    """Every mistake of a request that has not the form it should have."""
    told = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    broken = any(each["type"] == "json_invalid" for each in error.errors())
    return problem(400 if broken else 422, "; ".join(told))
