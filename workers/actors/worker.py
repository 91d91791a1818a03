"""The base class of workers. Takes a job, gives its root, and its network and layers on a device."""

from typing import Generic

from torch import Tensor

from workers.actors import device
from workers.actors.environment import Environment
from workers.actors.job import Job, Spec
from workers.core.network import Network
from workers.models.model import restore
from workers.spec.parts import Precision
from workers.store.root import patient


class Worker(Generic[Spec]):
    """One network on one device. All workers of a job give the same bytes for an item; none keeps state between items.

    Attributes:
        done: progress of the current item.
    """

    def __init__(self, job: Job[Spec], precision: Precision = Precision.FLOAT32) -> None:
        self.job = job
        self.precision = precision
        self.root = patient(job.spec.root)
        self.done = 0
        resources = job.spec.resources
        device.configure(resources.device, resources.threads)
        self.network = device.move(resources.device, self._prepare(restore(job.model, self.root)), precision)
        self.layers = self.network.select(job.layers)

    def _prepare(self, network: Network) -> Network:
        """The network that the worker runs, before it is moved to the device."""
        return network

    def check(self) -> Environment:
        """Check that this node can read the root and the corpus; gives its software and device."""
        return device.check(self.job, self.root)

    def input(self, pixels: Tensor) -> Tensor:
        """The network's input, on its device, from pixels (images, channels, height, width) in 0 to 255."""
        return device.normalise(pixels, self.job, self.precision)
