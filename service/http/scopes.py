"""The scopes of routes. Takes routes and requests, gives the scope that each needs; every route must declare one.

A route declares its scope with `dependencies=[READ]`. The gate reads it before the request reaches the route, since FastAPI reads
a body before it asks any dependency. The dependency itself then only confirms that the gate has let the request through.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBase, HTTPBearer
from fastapi.params import Depends
from fastapi.params import Security as Declaration
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Scope

from service.http import keys

READ_METHODS = ("GET", "HEAD")
ADMITTED = "deconvoy.admitted"  # where the gate notes that it let a request through
OPEN_TO_ALL: tuple[str, ...] = ()  # scopes of a route that needs no key


class _Scheme(SecurityBase):
    """How a key is sent, for the description of the API only: the gate reads the keys."""

    def __init__(self, name: str, model: HTTPBase) -> None:
        self.scheme_name, self.model = name, model

    async def __call__(self) -> None:
        """Read nothing."""


_BEARER = _Scheme("bearer", HTTPBearer(description="a key from `deconvoy keys add`"))
_BASIC = _Scheme("basic", HTTPBase(scheme="basic", description="for browsers: any name, and a key as the password"))


async def confirm_admission(
    request: Request,
    wanted: SecurityScopes,
    _bearer: Annotated[None, Security(_BEARER)],
    _basic: Annotated[None, Security(_BASIC)],
) -> None:
    """Confirm that the gate let a request through for the scopes of its route.

    Raises:
        HTTPException: it did not, because the route is served without a gate.
    """
    if request.scope.get(ADMITTED) != wanted.scopes:
        raise HTTPException(401, "a valid API key is required")


async def admit_all() -> None:
    """Let every request through: for liveness and readiness, which reveal nothing about the root."""


READ: Depends = Security(confirm_admission, scopes=[keys.Scope.READ])
SUBMIT: Depends = Security(confirm_admission, scopes=[keys.Scope.SUBMIT])
ADMIN: Depends = Security(confirm_admission, scopes=[keys.Scope.ADMIN])
OPEN: Depends = Security(admit_all, scopes=OPEN_TO_ALL)


class DeclaredMount(Mount):
    """An application below a path, such as static files, with the scope that all of it needs."""

    def __init__(self, path: str, app: ASGIApp, name: str, dependencies: Sequence[Depends]) -> None:
        super().__init__(path, app, name=name)
        self.dependencies = list(dependencies)


def check(routes: Iterable[BaseRoute]) -> None:
    """Require that every route declares exactly one scope.

    Raises:
        TypeError: a route declares no scope, or several.
    """
    for route in routes:
        declared_scope(route)


def declared_scope(route: BaseRoute) -> keys.Scope | None:
    """The scope that a route declares; None if it needs no key.

    Raises:
        TypeError: it declares no scope, or several.
    """
    scopes = [
        tuple(depends.scopes or ())
        for depends in getattr(route, "dependencies", ())
        if isinstance(depends, Declaration) and depends.dependency in (confirm_admission, admit_all)
    ]
    if len(scopes) != 1 or len(scopes[0]) > 1:
        where = getattr(route, "path", route)
        raise TypeError(
            f"route {where} declares {len(scopes)} scopes; declare exactly one, such as dependencies=[READ]"
        )
    return keys.Scope(scopes[0][0]) if scopes[0] else None


def needed_scope(routes: Iterable[BaseRoute], scope: Scope) -> keys.Scope | None:
    """The scope that a request needs; None if its route needs no key.

    If no route answers a request, it needs READ if its method only reads, and otherwise the highest scope of the routes at its
    path. So the answer to a key without rights does not reveal whether a route exists.
    """
    partial = []
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return declared_scope(route)
        if match is Match.PARTIAL:
            partial.append(declared_scope(route))
    if partial and not any(partial):
        return None
    if scope["method"] in READ_METHODS:
        return keys.Scope.READ
    return max([keys.Scope.SUBMIT, *filter(None, partial)], key=list(keys.Scope).index)
