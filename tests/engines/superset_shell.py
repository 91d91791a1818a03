"""Superset in a process of its own: takes an archive, imports it, and writes what its datasets and charts return, as JSON.

SUPERSET_CONFIG_PATH=FILE PYTHON superset_shell.py ARCHIVE OUTPUT
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from superset.app import create_app

API = "/api/v1"
LOGIN = {"username": "admin", "password": "admin", "provider": "db"}


class Api:
    """Superset's API, as an administrator uses it."""

    def __init__(self) -> None:
        app = create_app()
        self._client = app.test_client()
        token = self._checked(self._client.post(f"{API}/security/login", json=LOGIN))["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        return self._checked(self._client.get(f"{API}/{path}", headers=self._headers))

    def post(self, path: str, **body: Any) -> Any:
        return self._checked(self._client.post(f"{API}/{path}", headers=self._headers, **body))

    def all(self, kind: str) -> list[Any]:
        numbers = [each["id"] for each in self.get(f"{kind}/?q=(page_size:100)")["result"]]
        return [{**self.get(f"{kind}/{number}")["result"], "id": number} for number in numbers]

    def rows(self, dataset: int, **query: Any) -> list[dict[str, Any]]:
        """The rows of a query of a dataset."""
        body = {"datasource": {"id": dataset, "type": "table"}, "queries": [{"row_limit": 10000, **query}]}
        return list(self.post("chart/data", json=body)["result"][0]["data"])

    def _checked(self, answer: Any) -> Any:
        if answer.status_code != 200:
            sys.exit(f"{answer.status_code}: {answer.get_data(as_text=True)[:2000]}")
        return answer.json


def query_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The query of a chart, which Superset's pages make from its settings."""
    columns = [settings["x_axis"]] if "x_axis" in settings else []
    columns += [name for key in ("groupby", "columns", "all_columns") for name in settings.get(key, ())]
    filters = [
        {"col": each["subject"], "op": each["operator"], "val": each["comparator"]}
        for each in settings.get("adhoc_filters", ())
    ]
    return {"columns": columns, "metrics": settings.get("metrics", []), "filters": filters}


def look(api: Api) -> dict[str, Any]:
    """What an import has made: datasets with rows and metrics, charts with rows, dashboards with charts."""
    datasets, charts = api.all("dataset"), api.all("chart")
    numbers = {each["table_name"]: each["id"] for each in datasets}
    tables = {each["id"]: each["datasource_name_text"] for each in api.get("chart/?q=(page_size:100)")["result"]}
    return {
        "rows": {
            each["table_name"]: api.rows(each["id"], columns=[column["column_name"] for column in each["columns"]])
            for each in datasets
        },
        "metrics": {
            each["table_name"]: api.rows(each["id"], metrics=[metric["metric_name"] for metric in each["metrics"]])
            for each in datasets
        },
        "charts": {
            each["slice_name"]: api.rows(
                numbers[tables[each["id"]].split(".")[-1]], **query_of(json.loads(each["params"]))
            )
            for each in charts
        },
        "dashboards": {
            each["dashboard_title"]: [
                chart["slice_name"] for chart in api.get(f"dashboard/{each['id']}/charts")["result"]
            ]
            for each in api.all("dashboard")
        },
    }


if __name__ == "__main__":
    archive, output = sys.argv[1:]
    api = Api()
    with open(archive, "rb") as file:
        api.post("dashboard/import/", data={"formData": (file, "superset.zip")})
    Path(output).write_text(json.dumps(look(api)))
