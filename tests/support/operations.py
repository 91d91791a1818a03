"""Small networks with one family of operations each. Takes nothing, gives torch modules for maps of three channels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Of(nn.Module):
    """A module whose forward pass is a function of its parts."""

    def __init__(self, forward: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(inputs: int, outputs: int, size: int = 3, **arguments: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, **{"padding": size // 2, **arguments})


def squeeze_excitation() -> nn.Module:
    """Hu et al. 2018, with the gate expanded, as many write it."""

    def forward(m, x):
        x = torch.relu(m.first(x))
        gate = torch.sigmoid(m.up(torch.relu(m.down(functional.adaptive_avg_pool2d(x, 1)))))
        return torch.relu(m.last(x * gate.expand_as(x)))

    return Of(forward, first=conv(3, 6), down=conv(6, 2, 1), up=conv(2, 6, 1), last=conv(6, 4))


def linear_gate() -> nn.Module:
    """A gate of linear layers on pooled channels, viewed as a map again, and first in the product."""

    def forward(m, x):
        x = m.first(x)
        pooled = x.mean((2, 3))
        return m.last(functional.hardsigmoid(m.linear(pooled)).view(x.shape[0], -1, 1, 1) * x)

    return Of(forward, first=conv(3, 6), linear=nn.Linear(6, 6), last=conv(6, 4))


def spatial_gate() -> nn.Module:
    """One gate for each location, from all channels (CBAM's second part), and a quotient."""

    def forward(m, x):
        x = functional.silu(m.first(x))
        gate = torch.sigmoid(m.gate(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))
        y = x * gate
        return m.last(y / (1 + y.abs().mean((1, 2, 3), keepdim=True)))

    return Of(forward, first=conv(3, 5, stride=2), gate=conv(2, 1), last=conv(5, 4))


def own_rectifiers() -> nn.Module:
    """Rectifiers that are written out, and all of torch's."""

    def forward(m, x):
        x = m.one(x)
        x = x * torch.sigmoid(x)
        x = m.two(x)
        x = m.prelu(functional.mish(x) + functional.hardtanh(x, -2, 2) + functional.leaky_relu(x, 0.2))
        x = functional.elu(x, 0.5) - functional.gelu(x, approximate="tanh") + functional.celu(x, 0.7)
        return torch.tanh(
            m.three(functional.softplus(x) + functional.relu6(x) + functional.hardswish(x) + x.clamp(min=0))
        )

    return Of(forward, one=conv(3, 4), two=conv(4, 5, stride=2), prelu=nn.PReLU(5), three=conv(5, 3))


def shuffled() -> nn.Module:
    """Channel split and shuffle as in ShuffleNet v2, and torch's own shuffle."""

    def forward(m, x):
        x = torch.relu(m.first(x))
        one, other = x.chunk(2, dim=1)
        x = torch.cat((one, torch.relu(m.branch(other))), dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        parts = torch.split(x, [1, 3, 2], 1)
        x = m.shuffle(torch.cat((parts[2], parts[0], parts[1]), 1))
        return m.last(x[:, 1::2] + x[:, :3] * 2 - x[:, 3:])

    return Of(forward, first=conv(3, 6), branch=conv(3, 3, stride=1), shuffle=nn.ChannelShuffle(3), last=conv(3, 4))


def channels_last() -> nn.Module:
    """A ConvNeXt block: layer norm and linear layers on permuted maps, a layer scale, a residual sum."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(6, 6, 5, padding=2, groups=6)
            self.norm = nn.LayerNorm(6)
            self.one, self.two = nn.Linear(6, 12), nn.Linear(12, 6)
            self.gamma = nn.Parameter(torch.ones(6))

        def forward(self, x):
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            y = self.gamma * self.two(functional.gelu(self.one(y)))
            return x + y.permute(0, 3, 1, 2)

    return nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), Block(), nn.Conv2d(6, 5, 2, stride=2), nn.ReLU())


def response() -> nn.Module:
    """ConvNeXt v2's global response normalisation: a gate of operations without a downward step."""

    def forward(m, x):
        x = functional.gelu(m.one(m.first(x).permute(0, 2, 3, 1)))
        norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        x = x * (norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)) + x
        return m.last(x.permute(0, 3, 1, 2))

    return Of(forward, first=conv(3, 4, stride=2), one=nn.Linear(4, 6), last=conv(6, 3))


def tokens() -> nn.Module:
    """A map as a list of tokens and back, with a linear layer on the tokens."""

    def forward(m, x):
        x = m.first(x)
        n, _, h, w = x.shape
        y = m.norm(x.flatten(2).transpose(1, 2))
        y = torch.relu(m.linear(y)).transpose(1, 2).reshape(n, 7, h, w)
        return m.last(y)

    return Of(forward, first=conv(3, 5, stride=3), norm=nn.LayerNorm(5), linear=nn.Linear(5, 7), last=conv(7, 4))


def split_attention() -> nn.Module:
    """Groups of channels that are weighted and added, as ResNeSt and SKNet do: viewed in groups, and stacked."""

    def forward(m, x):
        x = torch.relu(m.first(x))
        n, c, h, w = x.shape
        groups = x.reshape(n, 2, c // 2, h, w)
        pooled = groups.sum(dim=1).mean((2, 3), keepdim=True)
        weights = m.weights(pooled).view(n, 2, c // 2).softmax(1)
        x = (groups * weights.reshape(n, 2, c // 2, 1, 1)).sum(dim=1)
        paths = torch.stack([torch.relu(m.one(x)), torch.relu(m.two(x))], dim=1)
        choice = torch.softmax(m.choice(paths.sum(1).mean((2, 3), keepdim=True)).view(n, 2, 4, 1, 1), dim=1)
        return m.last((paths * choice).sum(1))

    return Of(
        forward, first=conv(3, 6, stride=2), weights=conv(3, 6, 1), one=conv(3, 4), two=conv(3, 4, 5),
        choice=conv(4, 8, 1), last=conv(4, 3),
    )  # fmt: skip


def root_mean_squares() -> nn.Module:
    """Root-mean-square normalisation of channels-last maps, by torch and written out, and a squared rectifier."""

    def forward(m, x):
        x = m.norm(m.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = 0.9 * torch.relu(m.second(x)) ** 2 - 0.4
        return m.last(x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-5) * m.scale.weight.view(1, -1, 1, 1))

    return Of(
        forward, first=conv(3, 5, stride=2), norm=nn.RMSNorm(5), second=conv(5, 4), scale=nn.LayerNorm(4), last=conv(4, 3)
    )  # fmt: skip


def group_normed() -> nn.Module:
    """Group and layer-wide normalisation of whole maps."""
    return nn.Sequential(
        conv(3, 6, stride=2), nn.GroupNorm(3, 6), nn.ReLU(), conv(6, 4), nn.GroupNorm(1, 4), nn.SiLU(), conv(4, 4)
    )


def padded() -> nn.Module:
    """Borders of all kinds, and crops."""

    def forward(m, x):
        x = torch.relu(m.one(functional.pad(x, (0, 1, 0, 1))))
        x = m.two(functional.pad(x, (2, 1, 1, 2), mode="reflect"))
        x = m.three(functional.pad(x, (1, 1, 2, 0), mode="replicate"))
        x = functional.pad(x, (1, -2, -1, 1), value=0.5)
        return m.four(x[:, :, 1:-1, ::2])

    return Of(
        forward,
        one=conv(3, 4, stride=2, padding=0),
        two=conv(4, 4, padding=0),
        three=conv(4, 4, 1, padding_mode="zeros"),
        four=conv(4, 3, padding_mode="reflect"),
    )


def option_a() -> nn.Module:
    """A residual block whose shortcut takes every second pixel and adds empty channels (He et al. 2016, option A)."""

    def forward(m, x):
        x = torch.relu(m.first(x))
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return torch.relu(m.two(torch.relu(m.one(x))) + short)

    return Of(forward, first=conv(3, 4), one=conv(4, 8, stride=2), two=conv(8, 8))


def unet() -> nn.Module:
    """A U-Net with all ways up: interpolation, transposed convolution, pixel shuffle; skips, crops by padding."""

    def forward(m, x):
        one = torch.relu(m.one(x))
        two = torch.relu(m.two(functional.max_pool2d(one, 2)))
        three = torch.relu(m.three(functional.max_pool2d(two, 2)))
        up = functional.interpolate(three, size=two.shape[-2:], mode="nearest")
        joined = torch.relu(m.joined(torch.cat([two, up], 1)))
        finer = m.up(joined)
        finer = functional.pad(finer, (0, one.shape[3] - finer.shape[3], 0, one.shape[2] - finer.shape[2]))
        return m.last(torch.cat([one, finer], 1))

    return Of(
        forward, one=conv(3, 4), two=conv(4, 5), three=conv(5, 6), joined=conv(11, 5),
        up=nn.ConvTranspose2d(5, 4, 3, stride=2, padding=1), last=conv(8, 3),
    )  # fmt: skip


def upsampled() -> nn.Module:
    """Bilinear and bicubic interpolation by whole factors, pixel shuffle and its inverse."""

    def forward(m, x):
        x = torch.relu(m.one(x))
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = m.two(x)
        x = functional.interpolate(x, scale_factor=3, mode="bicubic", align_corners=False)
        x = m.three(functional.pixel_unshuffle(x, 3))
        return m.four(functional.pixel_shuffle(x, 2))

    return Of(forward, one=conv(3, 4, stride=5), two=conv(4, 2, stride=1), three=conv(18, 8), four=conv(2, 3, stride=3))


def resized() -> nn.Module:
    """Interpolation by other factors, and with aligned corners: every output sees the whole map."""

    def forward(m, x):
        x = torch.relu(m.one(x))
        y = functional.interpolate(x, size=(13, 17), mode="bilinear", align_corners=False)
        z = functional.interpolate(x, size=(13, 17), mode="bilinear", align_corners=True)
        return m.two(y + z)

    return Of(forward, one=conv(3, 4, stride=5), two=conv(4, 3))


def broadcast() -> nn.Module:
    """A pooled map that is added at every location, and constants of all shapes."""

    class Constants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = conv(3, 4, stride=2), conv(4, 3)
            self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5)
            self.shift = nn.Parameter(torch.rand(1, 4, 1, 1))
            self.where = nn.Parameter(torch.rand(1, 4, 23, 23))

        def forward(self, x):
            x = torch.relu(self.first(x))
            x = x + functional.adaptive_avg_pool2d(x, 1)
            x = 1 - (x * self.scale + self.shift) / 3
            return self.last(torch.rsub(x + self.where, 2, alpha=2) - 0.5)

    return Constants()


def standardised() -> nn.Module:
    """A convolution whose weights are standardised at each call, as in NFNet: a constant of the graph."""

    def forward(m, x):
        weight = m.conv.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / (weight.var((1, 2, 3), keepdim=True) + 1e-3).sqrt()
        x = functional.conv2d(x, weight, m.conv.bias, 2, 1) * 1.7
        return torch.relu(m.last(x))

    return Of(forward, conv=conv(3, 4), last=conv(4, 3))


def views_written() -> nn.Module:
    """Writes into a part of a map that is read as a whole afterwards."""

    def forward(m, x):
        x = m.first(x)
        x[:, :2].relu_()
        y = m.second(x)
        y += x
        return m.last(y)

    return Of(forward, first=conv(3, 4), second=conv(4, 4), last=conv(4, 3))


def large_pooling() -> nn.Module:
    """Max pooling over windows of more than 255 elements, some of them dilated."""
    return nn.Sequential(conv(3, 3), nn.MaxPool2d(17, 5, padding=3), conv(3, 3, 1), nn.MaxPool2d(2, 1, dilation=2))


def scaled_sizes() -> nn.Module:
    """Interpolation by factors that are not the ratio of the sizes: torch computes with the factor that it is given."""

    def forward(m, x):
        x = torch.relu(m.one(x))  # 5 x 5
        y = functional.interpolate(x, scale_factor=2.2, mode="bilinear", align_corners=False)  # 11 x 11
        z = functional.interpolate(x, scale_factor=2.21, mode="nearest")
        return m.two(y + z + functional.interpolate(x, scale_factor=2.25, mode="bicubic", align_corners=False))

    return Of(forward, one=conv(3, 4, stride=9), two=conv(4, 3))


def odd_borders() -> nn.Module:
    """Borders that repeat and crop at once, before a kernel that does not reach over them; a border below pooled channels."""

    def forward(m, x):
        x = torch.relu(m.one(x))
        x = functional.pad(x, (-2, 3, 3, -2), mode="replicate")
        x = m.two(functional.pad(x, (3, -1, -1, 2), mode="reflect"))
        return m.three(functional.pad(x + x.mean((2, 3), keepdim=True), (3, 3, 3, 3)))

    return Of(forward, one=conv(3, 4, stride=3), two=conv(4, 4, 1, stride=2), three=nn.GroupNorm(2, 4, affine=False))


def squares() -> nn.Module:
    """Squares of pixels as channels by views alone, in two orders."""

    def forward(m, x):
        x = torch.relu(m.one(x))
        n, c, h, w = x.shape
        y = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
        z = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
        return m.two(torch.relu(m.last(y) + z))

    return Of(forward, one=conv(3, 3, stride=2, padding=0), last=conv(12, 12, 1), two=conv(12, 4))


def other_modes() -> nn.Module:
    """Regions without mixed precision and with gradients, as some networks have for a part of their code."""

    def forward(m, x):
        x = m.one(x)
        with torch.autocast("cpu", enabled=False):
            x = torch.relu(m.two(x)) + x
        with torch.enable_grad():
            x = torch.relu(x)
        return m.last(x)

    return Of(forward, one=conv(3, 4, stride=3), two=conv(4, 4), last=conv(4, 3))


def local_response() -> nn.Sequential:
    """Contrast normalisation across maps."""
    return nn.Sequential(conv(3, 6, stride=2), nn.ReLU(), nn.LocalResponseNorm(3), conv(6, 4), nn.ReLU())


LOWERED: tuple[Callable[[], nn.Module], ...] = (
    squeeze_excitation,
    linear_gate,
    spatial_gate,
    own_rectifiers,
    shuffled,
    channels_last,
    response,
    tokens,
    split_attention,
    root_mean_squares,
    group_normed,
    padded,
    option_a,
    unet,
    upsampled,
    resized,
    broadcast,
    standardised,
    large_pooling,
    scaled_sizes,
    odd_borders,
    squares,
    other_modes,
    local_response,
)
