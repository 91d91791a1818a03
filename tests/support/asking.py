"""The service as a program on its own machine asks it. Takes a root and a cluster, gives applications and clients."""

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.control.schedules import Schedules
from service.control.submissions import Submissions
from service.http import app as web
from service.http.access import Rules
from service.http.places import Allowed
from workers.store.root import Root

OPEN = Rules(keyless=True)


def app_of(root: Root, cluster: Any, clock: Any, **rules: Any) -> FastAPI:
    """Atlas and control plane; without keys, as long as the root has none."""
    submissions, watched = Submissions(root, cluster, clock), rules.pop("watched", None)
    control = web.Control(
        submissions, Schedules(root, submissions), Allowed(rules.pop("allowed", ("s3://bucket/photos",))), watched
    )
    return web.create(root, control=control, rules=Rules(**{"keyless": True, **rules}), embed=["*"])


def client_of(app: FastAPI, **more: Any) -> TestClient:
    return TestClient(app, base_url="http://localhost", **more)


def atlas_of(root: Root, **more: Any) -> TestClient:
    """The atlas of a root without keys."""
    return client_of(web.create(root, rules=OPEN, embed=["*"], **more))


def is_problem(answer: Any, status: int, told: str = "") -> bool:
    body = answer.json()
    right = answer.status_code == body["status"] == status and told in body["detail"]
    return right and answer.headers["content-type"] == "application/problem+json"
