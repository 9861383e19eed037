"""The PyTorch side of bench_step: reads "DEPTH-WIDTH BATCH STEPS" lines, times that many training steps of the wide residual
network on one random batch (channels-last, SGD with Nesterov momentum), answers with one JSON object a line."""

import json
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.bn1(x), inplace=True)
        z = self.conv2(F.relu(self.bn2(self.conv1(y)), inplace=True))
        return z + (x if self.shortcut is None else self.shortcut(y))


class WideResNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        layers, channels = [], 16
        for stage in range(3):
            wide = (16 << stage) * width
            for i in range((depth - 4) // 6):
                layers.append(Block(channels, wide, 2 if stage > 0 and i == 0 else 1))
                channels = wide
        self.blocks = nn.Sequential(*layers)
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.blocks(self.conv1(x))), inplace=True)
        return self.fc(x.mean((2, 3)))


class Training:
    def __init__(self, depth, width, batch):
        self.network = WideResNet(depth, width).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
        self.images = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
        self.labels = torch.arange(batch) % 10

    def step(self):
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.network(self.images), self.labels).backward()
        self.optimizer.step()
        return 1000 * (time.perf_counter() - start)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print("torch", torch.__version__, "channels-last", flush=True)
    key, training = None, None
    for line in sys.stdin:
        name, batch, steps = line.split()
        if key != (name, batch):
            depth, width = (int(part) for part in name.split("-"))
            key, training = (name, batch), Training(depth, width, int(batch))
            training.step()
            training.step()
        times = [training.step() for _ in range(int(steps))]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"milliseconds": statistics.median(times), "peak_megabytes": peak}), flush=True)


if __name__ == "__main__":
    main()
