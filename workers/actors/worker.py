"""What every worker is before its first item. Takes a job, gives its root, and its network and layers on a device."""

from typing import Generic

from torch import Tensor

from workers.actors import device
from workers.actors.job import Environment, Job, Spec
from workers.models.model import restore
from workers.spec.parts import Precision
from workers.store.root import patient


class Worker(Generic[Spec]):
    """One network on one device. Any worker of a job gives the same bytes for the same item; none keeps anything between items.

    Attributes:
        done: how far the item under way is.
    """

    def __init__(self, job: Job[Spec], precision: Precision = Precision.FLOAT32) -> None:
        self.job = job
        self.precision = precision
        self.root = patient(job.spec.root)
        self.done = 0
        resources = job.spec.resources
        device.settle(resources.device, resources.threads)
        self.network = device.network_on(resources.device, restore(job.model, self.root), precision)
        self.layers = self.network.select(job.layers)

    def check(self) -> Environment:
        """Prove that this node reaches the root and the corpus, and say what software it runs."""
        return device.check(self.job, self.root)

    def input(self, pixels: Tensor) -> Tensor:
        """Pixels (images, 3, height, width) in 0 to 255 as the network's input, on its device."""
        return device.normalised(pixels, self.job, self.precision)
