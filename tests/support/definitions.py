"""KubeRay's definitions as it publishes them. Takes their folder, gives strict schemas and where kuberay.json differs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
# libyaml where PyYAML has it: a definition has 900 kB, which takes Python seconds.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TOLD = ("type", "enum", "minimum", "minItems")  # what two schemas of one field may disagree in


def strict(schema: Schema) -> Schema:
    """A definition's schema that knows no other fields than it names: the API server drops those without a word."""
    told = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            told[key] = strict(schema[key])
    if "properties" in schema:
        told["properties"] = {name: strict(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            told.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in schema:
        told["type"] = [schema["type"], "null"]
    return told


def published(folder: Path) -> dict[str, Schema]:
    """The schemas by `group/version/kind` of every definition in a folder's files."""
    documents = [found for file in sorted(folder.glob("*.yaml")) for found in yaml.load_all(file.read_text(), LOADER)]
    return {
        f"{found['spec']['group']}/{version['name']}/{found['spec']['names']['kind']}": strict(
            version["schema"]["openAPIV3Schema"]
        )
        for found in documents
        if found and found["kind"] == "CustomResourceDefinition"
        for version in found["spec"]["versions"]
    }


def differences(ours: Schema, theirs: Schema, defs: Mapping[str, Schema], at: str = "$") -> Iterator[str]:
    """Where a schema of ours says what a published one does not. What only theirs has is no difference, nor is a stricter enum.

    Stops where Kubernetes' own schemas begin: a definition carries a copy of those.
    """
    name = ours.get("$ref", "").removeprefix("#/$defs/")
    if name.startswith("io.k8s."):
        return
    ours = defs[name] if name else ours
    yield from _of_itself(ours, theirs, at)
    for name, each in ours.get("properties", {}).items():
        if name in theirs.get("properties", {}):
            yield from differences(each, theirs["properties"][name], defs, f"{at}.{name}")
        else:
            yield f"{at}.{name}: only here"
    for key in ("items", "additionalProperties"):
        if isinstance(ours.get(key), dict):
            yield from differences(ours[key], theirs.get(key) or {}, defs, f"{at}[]")


def _of_itself(ours: Schema, theirs: Schema, at: str) -> Iterator[str]:
    for key in TOLD:
        if key in ours and ours[key] != theirs.get(key) and not (key == "enum" and key not in theirs):
            yield f"{at}: {key} is {ours[key]!r} here and {theirs.get(key)!r} there"
    if at != "$" and sorted(ours.get("required", ())) != sorted(theirs.get("required", ())):
        yield f"{at}: {ours.get('required')!r} are required here and {theirs.get('required')!r} there"
