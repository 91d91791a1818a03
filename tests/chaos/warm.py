"""What every driver imports and does first. Imported by the process that drivers are forked from, so that none repeats it."""

import torch
import torchvision  # noqa: F401 - only imported

import jobs.ray.pool
import jobs.scan  # noqa: F401 - only imported
import service.cli.scan  # noqa: F401 - only imported

torch.export.export(torch.nn.ReLU(), (torch.zeros(1),))  # imports torch's compiler
