"""The frozen image encoder of data/encoder: a ResNet-50, or in the small form of the task an EfficientNet-Lite0."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, on which both were trained


def load_encoder(folder: str) -> nn.Module:
    """The encoder, ready to use: it maps images (n, 3, h, w) of 0 to 255 to features (n, 2048), or (n, 1280)."""
    if Path(folder, "config.json").exists():
        from transformers import ResNetModel

        return Encoder(ResNetModel.from_pretrained(folder))
    lite = EfficientNetLite0()
    lite.load_state_dict(torch.load(Path(folder, "efficientnet-lite0.pth"), weights_only=True))
    return Encoder(lite)


class Encoder(nn.Module):
    """Normalises images and takes the mean of the network's last feature map; nothing in it is trained."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.network((images.float() / 255 - self.mean) / self.std)
        return getattr(found, "last_hidden_state", found).mean((2, 3))


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: the odd pixel goes to the right and below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        need = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (x.shape[3], x.shape[2])]
        pad = [part for n in need for part in (n // 2, n - n // 2)]
        return F.conv2d(F.pad(x, pad), self.weight, None, self.stride, 0, 1, self.groups)


def norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class Block(nn.Module):
    """An inverted residual block; the attributes have the names that stand in the file of weights."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expand: int):
        super().__init__()
        inner = width * expand
        if expand > 1:
            self._expand_conv, self._bn0 = Convolution(width, inner, 1, bias=False), norm(inner)
        self._depthwise_conv = Convolution(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = norm(inner)
        self._project_conv, self._bn2 = Convolution(inner, out, 1, bias=False), norm(out)
        self.expand, self.skip = expand > 1, stride == 1 and width == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its last feature map (n, 1280, h/32, w/32), with its unused classifier."""

    # blocks, kernel, stride, expansion, width
    STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
              (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = Convolution(3, 32, 3, 2, bias=False), norm(32)
        blocks, width = [], 32
        for count, kernel, stride, expand, out in self.STAGES:
            for n in range(count):
                blocks.append(Block(width, out, kernel, stride if n == 0 else 1, expand))
                width = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = Convolution(320, 1280, 1, bias=False), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)))
