"""Specs as documents hold them. Takes the plain values that a user or any version wrote, gives a frozen spec or its mistakes."""

from typing import Any, Self

from pydantic import ConfigDict, RootModel

from workers.kinds import Kind
from workers.spec.parts import AnyRun


class PlainSpec(RootModel[dict[str, Any]]):
    """A spec as plain values, in the words of whoever wrote it.

    A document stays readable when another version wrote its spec, or when the spec lacks the run id, as that of a schedule does.
    Only whoever runs it parses it.
    """

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, spec: AnyRun) -> Self:
        """All values of a spec, including defaults."""
        return cls(spec.model_dump(mode="json"))

    @property
    def values(self) -> dict[str, Any]:
        """The values, as nested dicts and lists."""
        return self.root

    def parse(self, kind: Kind, **own: str) -> AnyRun:
        """The spec; `own` replaces top-level keys, such as the run id.

        Raises:
            SpecError: with every mistake in it.
            RunIdError: its run id is malformed.
        """
        from workers.spec.kinds import SPECS  # builds the specs of all kinds, which readers of documents do not need
        from workers.spec.make import make

        return make(SPECS[kind], {**self.values, **own})
