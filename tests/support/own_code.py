"""A network of the user's own code. Holds the text of its file; `small` makes it, with the same weights each time."""

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels=6):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, channels, 5, stride=2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(channels, 5, 3)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = torch.relu(self.second(self.first(x)))
        return self.head(x.mean((2, 3)))


def small():
    torch.manual_seed(0)
    return Net()
"""
