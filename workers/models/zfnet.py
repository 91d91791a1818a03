"""The network of Zeiler & Fergus 2014, Figure 3, and a small one of the same geometry. Takes sizes, gives torch modules.

Torchvision does not have it. The modules, and so the layers, are named conv1, relu1, pool1, ..., fc8.
"""

from collections import OrderedDict

from torch import nn


def zfnet(classes: int = 1000) -> nn.Module:
    """ZFNet for 224 x 224 inputs: a 7x7 first layer of stride 2, contrast normalisation across maps after pooling.

    Figure 3 of the paper: maps of 96 x 55 x 55, 256 x 13 x 13, 384, 384, 256 x 6 x 6 after pooling; 4096, 4096. The
    paper does not give its normalisation constants; these are AlexNet's (Krizhevsky et al. 2012, section 3.3).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers.update(_block(1, nn.Conv2d(3, 96, 7, stride=2, padding=1)))
    layers["pool1"] = nn.MaxPool2d(3, 2, padding=1)
    layers["norm1"] = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    layers.update(_block(2, nn.Conv2d(96, 256, 5, stride=2)))
    layers["pool2"] = nn.MaxPool2d(3, 2, padding=1)
    layers["norm2"] = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    layers.update(_block(3, nn.Conv2d(256, 384, 3, padding=1)))
    layers.update(_block(4, nn.Conv2d(384, 384, 3, padding=1)))
    layers.update(_block(5, nn.Conv2d(384, 256, 3, padding=1)))
    layers["pool5"] = nn.MaxPool2d(3, 2)
    layers["flatten"] = nn.Flatten()
    for number, (before, after) in enumerate(((9216, 4096), (4096, 4096)), start=6):
        layers[f"fc{number}"] = nn.Linear(before, after)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"drop{number}"] = nn.Dropout()
    layers["fc8"] = nn.Linear(4096, classes)
    return nn.Sequential(layers)


def zfnet_mini(classes: int = 101) -> nn.Module:
    """ZFNet's geometry with fewer channels, for 160 x 160 inputs; trained on Caltech-101 for the demo."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers.update(_block(1, nn.Conv2d(3, 40, 7, stride=2, padding=1)))
    layers["pool1"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    layers.update(_block(2, nn.Conv2d(40, 112, 5, stride=2)))
    layers["pool2"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    layers.update(_block(3, nn.Conv2d(112, 160, 3, padding=1)))
    layers.update(_block(4, nn.Conv2d(160, 160, 3, padding=1)))
    layers.update(_block(5, nn.Conv2d(160, 112, 3, padding=1)))
    layers["pool5"] = nn.MaxPool2d(3, 2)
    layers["flatten"] = nn.Flatten()
    layers["fc6"] = nn.Linear(1792, 256)
    layers["relu6"] = nn.ReLU()
    layers["fc7"] = nn.Linear(256, classes)
    return nn.Sequential(layers)


def _block(number: int, convolution: nn.Conv2d) -> dict[str, nn.Module]:
    return {f"conv{number}": convolution, f"relu{number}": nn.ReLU()}
