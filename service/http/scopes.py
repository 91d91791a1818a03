"""The scopes of routes. Takes routes and requests, gives the scope that each needs; a route without one does not start.

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

LOOKS = ("GET", "HEAD")
ADMITTED = "deconvoy.admitted"  # where the gate notes that it let a request through
OPEN_TO_ALL: tuple[str, ...] = ()  # the scopes of a route that answers without a key


class _Scheme(SecurityBase):
    """How a key is sent, for the description of the API: the gate alone reads keys."""

    def __init__(self, name: str, model: HTTPBase) -> None:
        self.scheme_name, self.model = name, model

    async def __call__(self) -> None:
        """Read nothing."""


_BEARER = _Scheme("bearer", HTTPBearer(description="a key of `deconvoy keys add`"))
_BASIC = _Scheme("basic", HTTPBase(scheme="basic", description="for browsers: any name, and a key as the password"))


async def admitted(
    request: Request,
    wanted: SecurityScopes,
    _bearer: Annotated[None, Security(_BEARER)],
    _basic: Annotated[None, Security(_BASIC)],
) -> None:
    """Confirm that the gate let a request through for the scopes of its route.

    Raises:
        HTTPException: it did not: the route is served without a gate.
    """
    if request.scope.get(ADMITTED) != wanted.scopes:
        raise HTTPException(401, "a key is needed")


async def answered_to_all() -> None:
    """Let every request through: for liveness and readiness, which tell nothing about the root."""


READ: Depends = Security(admitted, scopes=[keys.Scope.READ])
SUBMIT: Depends = Security(admitted, scopes=[keys.Scope.SUBMIT])
ADMIN: Depends = Security(admitted, scopes=[keys.Scope.ADMIN])
OPEN: Depends = Security(answered_to_all, scopes=OPEN_TO_ALL)


class DeclaredMount(Mount):
    """An application below a path, such as static files, with the scope that all of it needs."""

    def __init__(self, path: str, app: ASGIApp, name: str, dependencies: Sequence[Depends]) -> None:
        super().__init__(path, app, name=name)
        self.dependencies = list(dependencies)


def check(routes: Iterable[BaseRoute]) -> None:
    """Refuse to start with a route that declares no scope, or several.

    Raises:
        TypeError: there is one.
    """
    for route in routes:
        declared(route)


def declared(route: BaseRoute) -> keys.Scope | None:
    """The scope that a route declares; None if it answers everybody.

    Raises:
        TypeError: it declares none, or several.
    """
    found = [
        tuple(depends.scopes or ())
        for depends in getattr(route, "dependencies", ())
        if isinstance(depends, Declaration) and depends.dependency in (admitted, answered_to_all)
    ]
    if len(found) != 1 or len(found[0]) > 1:
        where = getattr(route, "path", route)
        raise TypeError(f"route {where} declares {len(found)} scopes; give it one: dependencies=[READ], say")
    return keys.Scope(found[0][0]) if found[0] else None


def needed(routes: Iterable[BaseRoute], scope: Scope) -> keys.Scope | None:
    """The scope that a request needs; None if its route answers everybody.

    A request that no route answers needs READ to look, and otherwise the highest scope of the routes at its path: so it does not
    tell a key that may do nothing there whether there is something.
    """
    near = []
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return declared(route)
        if match is Match.PARTIAL:
            near.append(declared(route))
    if near and not any(near):
        return None
    if scope["method"] in LOOKS:
        return keys.Scope.READ
    return max([keys.Scope.SUBMIT, *filter(None, near)], key=list(keys.Scope).index)
