"""The networks of layers/ in PyTorch, as a PyTorch user would write them."""

from torch import nn
from torch.nn import functional as F


def convolution(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else convolution(inputs, outputs, 1, stride)

    def forward(self, x):
        y = F.relu(self.bn1(x), inplace=True)
        z = self.conv2(F.relu(self.bn2(self.conv1(y)), inplace=True))
        return z + (x if self.shortcut is None else self.shortcut(y))


class WideResNet(nn.Module):
    def __init__(self, depth, width, channels, classes=10):
        super().__init__()
        self.conv1 = convolution(channels, 16, 3)
        blocks, inputs = [], 16
        for stage in range(3):
            outputs = (16 << stage) * width
            for i in range((depth - 4) // 6):
                blocks.append(WideBlock(inputs, outputs, 2 if stage > 0 and i == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.blocks(self.conv1(x))), inplace=True)
        return self.fc(x.mean((2, 3)))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


class ResNet18(nn.Module):
    def __init__(self, channels, classes=10):
        super().__init__()
        self.conv1 = convolution(channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        blocks, inputs = [], 64
        for stage in range(4):
            outputs = 64 << stage
            blocks += [BasicBlock(inputs, outputs, 2 if stage > 0 else 1), BasicBlock(outputs, outputs, 1)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.fc(self.blocks(x).mean((2, 3)))


def lenet5(channels, height, width, classes=10):
    features = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(features, 120), nn.ReLU(inplace=True),
        nn.Linear(120, 84), nn.ReLU(inplace=True), nn.Linear(84, classes),
    )  # fmt: skip


def make_network(name, channels, height, width):
    if name == "lenet-5":
        return lenet5(channels, height, width)
    if name == "resnet-18":
        return ResNet18(channels)
    family, depth, width = name.split("-")
    if family != "wrn":
        raise ValueError(f"network {name!r} is not one of the benchmark's")
    return WideResNet(int(depth), int(width), channels)
