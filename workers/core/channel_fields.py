"""Receptive fields by channel. Takes a node's step and the fields of its inputs, gives the fields of its channels.

Channels of one map can see different parts of the image: a concatenation joins the maps of branches, and each of its channels
sees only what its branch sees, as `expand1x1` and `expand3x3` in SqueezeNet. Operations on single channels keep the difference;
a convolution over all channels ends it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

from workers.core.receptive_field import Field, Span
from workers.core.steps import Step

Cone = tuple[Span, Span]
ONE = Span(1, 0, 1)
NONE, ALL = -1, -2  # an output channel reads no channel of an input, or may read several


@dataclass(frozen=True)
class ChannelFields:
    """The receptive fields of a map's channels.

    Attributes:
        fields: the different fields.
        which: for each channel, the position of its field in `fields`.
    """

    fields: tuple[Field, ...]
    which: tuple[int, ...]

    @classmethod
    def alike(cls, field: Field, channels: int) -> "ChannelFields":
        """The same field for all channels."""
        return cls((field,), (0,) * channels)

    def of(self, channel: int) -> Field:
        """The field of a channel."""
        return self.fields[self.which[channel]]

    @property
    def hull(self) -> Field:
        """The smallest field that contains the fields of all channels."""
        return Field(*reduce(hull, ((field.rows, field.columns) for field in self.fields)))


def hull(one: Cone, other: Cone) -> Cone:
    """The smallest spans of rows and columns that contain both; all positions where the strides differ."""
    rows, columns = (Span(0, 0, 0) if a.stride != b.stride else a.hull(b) for a, b in zip(one, other, strict=True))
    return rows, columns


def fields_above(
    step: Step, channels: int, inputs: Sequence[ChannelFields], whole: Cone, narrow: Callable[[], Cone]
) -> ChannelFields:
    """The fields of a node's channels, over all paths on which a signal is carried down.

    Args:
        step: the node's operation.
        channels: number of the node's channels; 0 if its output is not a feature map.
        inputs: the fields of each input's channels.
        whole: the rows and columns of the whole image.
        narrow: gives the cone of the node. Below an upsampling it is narrower than the field that `inputs` lead to.
    """
    channels = max(channels, 1)
    reads = [_reads(step, number, channels, fields) for number, fields in enumerate(inputs)]
    combined = list(zip(*reads, strict=True)) if reads else [()] * channels
    different = {
        reads: _field(step, dict(enumerate(reads)), inputs, whole, narrow) for reads in dict.fromkeys(combined)
    }
    fields = tuple(dict.fromkeys(different.values()))
    position = {reads: fields.index(field) for reads, field in different.items()}
    return ChannelFields(fields, tuple(position[reads] for reads in combined))


def _reads(step: Step, number: int, channels: int, fields: ChannelFields) -> list[int]:
    """For each output channel, the position of the field of the channel that it reads of an input; or NONE, or ALL."""
    if not step.carries(number):
        return [NONE] * channels
    sources = step.source_channels(number, channels)
    if sources is None or max(sources) >= len(fields.which):
        return [ALL] * channels
    return [fields.which[source] if source >= 0 else NONE for source in sources]


def _field(
    step: Step, reads: dict[int, int], inputs: Sequence[ChannelFields], whole: Cone, narrow: Callable[[], Cone]
) -> Field:
    """The field of a channel that reads one field of each input."""
    if all(position == NONE for position in reads.values()):  # a constant, such as a channel that is added by padding
        reads = {number: ALL for number in reads if step.carries(number)}
    chosen = [(number, field) for number, position in reads.items() for field in _chosen(inputs[number], position)]
    if not chosen:
        return Field(*whole)
    if len(chosen) == 1 and not step.sees_whole(chosen[0][0]) and all(step.below(ONE, axis) == ONE for axis in (0, 1)):
        return chosen[0][1]
    spans = reduce(hull, (_seen(step, number, field, whole) for number, field in chosen))
    rows, columns = (span if span.step else all_ for span, all_ in zip(spans, whole, strict=True))
    return Field(*narrow()) if rows.period > 1 or columns.period > 1 else Field(rows, columns)


def _chosen(fields: ChannelFields, position: int) -> Iterable[Field]:
    return fields.fields if position == ALL else () if position == NONE else (fields.fields[position],)


def _seen(step: Step, number: int, field: Field, whole: Cone) -> Cone:
    """What an output sees through an input whose units have a field."""
    if step.sees_whole(number):
        return whole
    return step.below(ONE, 0).into(field.rows), step.below(ONE, 1).into(field.columns)
