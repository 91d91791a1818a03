"""Answers to errors. Takes an error, gives a page, its JSON twin, or a problem of the API."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.atlas.pages.plain import ErrorPage
from service.http import problems
from service.http.guards import GUARDS
from service.http.pages import answer
from workers.errors import DeconvoyError


def add_to(app: FastAPI) -> None:
    """Answer errors: below `/api/` with a problem, elsewhere with a page."""
    _add_invalid(app)
    _add_raised(app)
    _add_last_resort(app)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _add_last_resort(app: FastAPI) -> None:
    @app.exception_handler(Exception)
    def answer_fault(request: Request, error: Exception) -> Response:  # runs outside of Guarded
        del error
        detail = "Internal error; the server's log has the details."
        if _is_api(request):
            return problems.problem(500, detail, GUARDS)
        return Response(detail, 500, GUARDS, "text/plain")


def _add_invalid(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    def answer_http_error(request: Request, error: HTTPException) -> Response:
        if _is_api(request):
            return problems.problem(error.status_code, error.detail, error.headers)
        path, is_method = request.url.path, error.status_code == 405
        problem = f"{path} does not accept {request.method}" if is_method else f"there is nothing at {path}"
        page = ErrorPage(title=error.detail, error=problem)
        return answer(request, page, error.status_code)

    @app.exception_handler(RequestValidationError)
    def answer_invalid(request: Request, error: RequestValidationError) -> Response:
        if _is_api(request):
            return problems.mistakes(error)
        return answer(request, ErrorPage(title="Not found", error="no such picture"), 404)


def _add_raised(app: FastAPI) -> None:
    @app.exception_handler(DeconvoyError)
    def answer_raised(request: Request, error: DeconvoyError) -> Response:
        if _is_api(request):
            return problems.problem_of(error)
        status = problems.status_of(error)
        status = status if status >= 500 else 404
        titles = {404: "Not found", 500: "Damaged", 503: "Unavailable"}
        return answer(request, ErrorPage(title=titles[status], error=str(error)), status)
