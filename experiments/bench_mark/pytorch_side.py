"""The PyTorch side of bench_mark: the distribution-matching loss of docs/watermark.md, section 3, as tensor operations and
autograd. Arguments: threads, device. Reads one JSON value a line: an object names a folder with weights, signs, bits and a
gradient to compare with, and is answered with the relative difference; a number asks for that many gradients, one after the
other, and is answered with the median of their milliseconds."""

import json
import statistics
import sys
import time
from pathlib import Path

import torch

BINS = 64
KNOTS = BINS // 2


class DistributionMatching:
    def __init__(self, weights, signs, bits, problem, device):
        self.device = device
        self.weights = [w.requires_grad_() for w in weights]
        self.signs = signs
        self.rows = [b * BINS + KNOTS for b in bits]
        self.bits = problem["bits"]
        self.step = problem["step"]
        self.strength = problem["strength"]
        self.target = torch.tensor(problem["target"], device=device)
        self.trapezoid = torch.full((KNOTS,), self.step, device=device)
        self.trapezoid[0] /= 2
        self.mean_weights = sum(w.numel() for w in weights) / self.bits

    def loss(self, scales):
        """Soft histograms of the aligned weights of every bit, their skew functions, and what these miss."""
        histogram = torch.zeros(self.bits * BINS, device=self.device)
        for w, sign, row, scale in zip(self.weights, self.signs, self.rows, scales):
            place = w * (sign / (scale * self.step)) - 0.5
            low = place.detach().floor().clamp(-KNOTS, KNOTS - 2)
            share = (place - low).clamp(0, 1)
            bin_ = row + low.long()
            histogram = histogram.index_add(0, bin_, 1 - share).index_add(0, bin_ + 1, share)
        below = histogram.view(self.bits, BINS).cumsum(1)
        owned = below[:, -1:]
        skew = (owned - below[:, KNOTS - 1 : -1] - below[:, :KNOTS].flip(1)) / owned.detach()
        missing = (self.target - skew).clamp(min=0)
        return self.mean_weights / self.bits * (self.trapezoid * missing.square()).sum()

    def gradient(self):
        """lambda T s^2 dL/dw, layer by layer."""
        scales = [w.detach().square().sum().div(w.detach().count_nonzero()).sqrt() for w in self.weights]
        slopes = torch.autograd.grad(self.loss(scales), self.weights)
        return [slope * (self.strength * self.bits * s * s) for slope, s in zip(slopes, scales)]


def load(problem, device):
    folder, layers = Path(problem["folder"]), problem["layers"]

    def array(name, dtype):
        read = torch.from_file(str(folder / name), size=sum(layers), dtype=dtype).clone()
        return read.to(device).split(layers)

    weights = [w.clone() for w in array("weights", torch.float32)]
    term = DistributionMatching(weights, array("signs", torch.float32), array("bits", torch.int64), problem, device)
    return term, array("gradient", torch.float32)


def difference(term, expected):
    ours = torch.cat(list(expected)).double()
    theirs = torch.cat(term.gradient()).double()
    # Where two slopes meet, the rounding of a weight decides between them.
    place = torch.cat([w.detach() / w.detach().square().mean().sqrt() for w in term.weights]).abs() / term.step + 0.5
    clear = (place - place.round()).abs() > 1e-4
    return ((theirs - ours)[clear].norm() / ours[clear].norm()).item()


def milliseconds(term):
    start = time.perf_counter()
    term.gradient()
    if term.device != "cpu":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print("torch", torch.__version__, flush=True)
    term = None
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, dict):
            term, expected = load(request, sys.argv[2])
            answer = {"difference": difference(term, expected)}
        else:
            milliseconds(term)  # does not count: see gradient.cpp
            answer = {"milliseconds": statistics.median(milliseconds(term) for _ in range(request))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
