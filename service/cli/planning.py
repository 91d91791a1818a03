"""The plan of a job, instead of the job. Takes a spec, prints what a run of it would do."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from service.cli.running import format_seconds, format_size
from service.cli.terminal import echo

if TYPE_CHECKING:
    from workers.spec.parts import NetworkSpec


def print_plan(spec: "NetworkSpec", *, as_json: bool) -> None:
    """Print the plan of a job; that of a scan comes with its size and time, which are measured on a few images."""
    from service.cli.console import print_json, print_table

    plan = _plan(spec)
    if plan.get("depth") is None:
        plan.pop("depth", None)
    if as_json:
        print_json(plan)
        return
    remarks = filter(None, [*plan.pop("remarks"), plan.pop("warning", "")])
    rows = [{"what": name.replace("_", " "), "plan": text} for name, text in _texts(plan)]
    print_table(rows, {"what": "what", "plan": "plan"})
    for remark in remarks:
        echo(remark)


def _plan(spec: "NetworkSpec") -> dict[str, Any]:
    from workers.spec.scan import RunSpec

    if type(spec) is RunSpec:
        from jobs.dry_run import dry_run

        return asdict(dry_run(spec))
    from jobs.kinds import pipeline
    from jobs.planning import plan_of
    from workers.spec.kinds import kind_of

    return asdict(plan_of(spec, pipeline(kind_of(spec))))


def _texts(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of a plan, for people."""
    from workers.sources.source import describe

    hidden = ("not_measured", "estimated_table_bytes", "estimated_seconds", "unit")
    not_measured, tables, seconds, unit = (plan.pop(key, None) for key in hidden)
    for name, value in plan.items():
        if name == "estimated_bytes":
            results = value - tables
            yield "estimated_size", f"about {format_size(tables)} of tables and {format_size(results)} of new results"
            yield "estimated_time", f"about {format_seconds(seconds)}" if seconds is not None else "not measured"
        elif name == "units_to_run":
            unknown = "unknown, as results depend on the device, and torch sees no GPU here"
            yield "to_run", unknown if value is None else f"{value:,} {unit}"
        elif name == "shards_done" and value == plan.get("shards") and plan["estimated_bytes"] > tables:
            yield name, f"{value:,}; only the second pass, with the pictures, is left"
        elif name == "passed_over":
            yield name, describe(value) or "nothing"
        elif value is not None:
            yield name, _text(value)
    if not_measured:
        yield "not_measured", not_measured


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
