"""Networks of the Hugging Face Hub. Takes ORG/NAME@REVISION or a folder, gives timm's or transformers' module and its weights."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError
from workers.host.retrying import reason
from workers.models import snapshots
from workers.models import weights as weight_files
from workers.models.families import timm, transformers
from workers.models.families.family import Kwargs, WeightsEntry, classes_of
from workers.models.unallocated import without_weights
from workers.spec import families
from workers.spec.families import HUB


class Hub:
    """`hf-hub:ORG/NAME@REVISION` and `hf-hub:FOLDER`, with the files that timm and transformers write."""

    scheme = HUB

    def entry(self, name: str, weights: str) -> WeightsEntry:
        """The snapshot's own weights or those of a file, with the snapshot's preprocessing and class names; see `Family`."""
        name = snapshots.pin(name)
        config = snapshots.document(name, snapshots.CONFIG)
        try:
            preprocessing, class_names = _describe(name, config)
        except ModelError:
            raise
        except Exception as error:  # a document may hold anything, and transformers raises anything for it
            raise ModelError(f"the configuration of {HUB.source(name)} cannot be used: {reason(error)}") from error
        if not weights and families.snapshot_folder(HUB.source(name)) is not None:
            weights = snapshots.weights(name)
        return WeightsEntry(preprocessing, class_names, weights or None, partial(_download, name), pinned=name)

    def build(self, name: str, kwargs: Kwargs) -> nn.Module:
        """The module; see `Family`."""
        config = snapshots.document(name, snapshots.CONFIG)
        if timm.ARCHITECTURE in config:
            return timm.build_saved(HUB.source(name), config, kwargs)
        return transformers.build(HUB.source(name), config, kwargs)

    def implied_kwargs(self, name: str, state: Mapping[str, Tensor]) -> Kwargs:
        """The number of classes, and that of channels of a timm network; see `Family`."""
        config = snapshots.document(name, snapshots.CONFIG)
        if timm.ARCHITECTURE not in config:
            with without_weights():
                return classes_of(state, transformers.build(HUB.source(name), config, {}).state_dict())
        known = timm.saved_configuration(HUB.source(name), config)
        return {**timm.classes_of(known, state), **timm.channels_of(known, state)}


def _describe(name: str, config: Mapping[str, Any]) -> tuple[Preprocessing, tuple[str, ...]]:
    """The preprocessing and the class names of a snapshot.

    Raises:
        ModelError: it is neither timm's nor transformers', or its images are prepared in an unsupported way.
    """
    source = HUB.source(name)
    if timm.ARCHITECTURE in config:
        return timm.preprocessing_of(source, timm.saved_configuration(source, config)), timm.saved_names(config)
    if transformers.TYPE in config:
        transformers.require_known(source, config)
        prepared = snapshots.document(name, snapshots.PREPROCESSOR)
        return transformers.preprocessing_of(source, prepared), transformers.class_names_of(config)
    raise ModelError(
        f"{source} is not a network of timm or transformers: its {snapshots.CONFIG} has neither "
        f"{timm.ARCHITECTURE!r} nor {transformers.TYPE!r}"
    )


def _download(name: str) -> Mapping[str, Tensor]:
    return weight_files.read(snapshots.weights(name)).state
