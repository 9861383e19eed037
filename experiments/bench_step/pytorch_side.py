"""The PyTorch side of bench_step. Arguments: threads, device. Reads one JSON request a line, as experiments/bench_step/worker.h
describes them, and answers each with one JSON object a line."""

import json
import os
import platform
import resource
import statistics
import sys
import time

# Answers alone go to standard output; what libraries print there goes where errors go.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import torch  # noqa: E402
from pytorch_data import Pictures  # noqa: E402
from pytorch_networks import make_network  # noqa: E402
from torch.nn import functional as F  # noqa: E402

PICTURES = 4096  # held in memory, as on our side


class Step:
    """One network in one variant: contiguous, channels-last, compile, frozen (in inference: compiled with the weights as
    constants); on CUDA eager, bf16, cuda-graph, max-autotune."""

    def __init__(self, request, device):
        self.device, self.variant = device, request["variant"]
        self.batch, self.training = request["batch"], request["training"]
        geometry = request["channels"], request["height"], request["width"]
        self.channels_last = self.variant not in ("contiguous", "eager")
        self.compiled = self.variant in ("compile", "frozen", "max-autotune")
        self.bf16 = device != "cpu" and self.variant != "eager"
        torch.manual_seed(1)
        self.network = make_network(request["network"], *geometry).to(device).train(self.training)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        self.network = self.network.to(memory_format=layout)
        self.images = torch.randn(self.batch, *geometry, device=device).to(memory_format=layout)
        self.labels = torch.arange(self.batch, device=device) % 10
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True
        )
        self.geometry, self.pictures, self.normalise, self.graph = geometry, None, None, None
        self.forward = self.loss if self.training else self.logits
        if self.compiled:
            mode = "max-autotune" if self.variant == "max-autotune" else "default"
            torch._inductor.config.freezing = self.variant == "frozen"
            self.forward = torch.compile(self.forward, mode=mode)
        if self.variant == "cuda-graph":
            self.capture()

    def logits(self, images):
        with torch.autocast("cuda", torch.bfloat16, enabled=self.bf16):
            return self.network(images)

    def loss(self, images, labels):
        return F.cross_entropy(self.logits(images).float(), labels)

    def work(self, images, labels):
        if self.variant == "max-autotune":
            torch.compiler.cudagraph_mark_step_begin()
        if not self.training:
            return self.forward(images)
        self.optimizer.zero_grad(set_to_none=True)
        self.forward(images, labels).backward()
        return self.optimizer.step()

    def capture(self):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), torch.inference_mode(not self.training):
            for _ in range(3):
                self.work(self.images, self.labels)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph), torch.inference_mode(not self.training):
            self.work(self.images, self.labels)

    def once(self, with_data):
        images, labels = self.images, self.labels
        if with_data:
            if self.pictures is None:
                self.pictures = Pictures(PICTURES, *self.geometry, self.device, self.channels_last)
                if self.compiled:
                    self.normalise = torch.compile(self.pictures.normalise)
            images, labels = self.pictures.batch(self.batch, self.normalise)
        if self.graph is None:
            self.work(images, labels)
            return
        if with_data:
            self.images.copy_(images)
            self.labels.copy_(labels)
        self.graph.replay()

    def run(self, with_data, steps):
        """Milliseconds a step: on the CPU the median, on CUDA, where steps overlap, the mean."""
        times = []
        with torch.inference_mode(not self.training):
            self.wait()
            begin = time.perf_counter()
            for _ in range(steps):
                start = time.perf_counter()
                self.once(with_data)
                times.append(1000 * (time.perf_counter() - start))
            self.wait()
        if self.device == "cpu":
            return statistics.median(times)
        return 1000 * (time.perf_counter() - begin) / steps

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def forget_peak(self):
        """What the search for algorithms took on a GPU is not what training takes."""
        if self.device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_megabytes(self):
        if self.device != "cpu":
            return torch.cuda.max_memory_reserved() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answer(request, step, device):
    if request["do"] == "prepare":
        # A search for the fastest algorithm pays in a long run, not in a first step with data.
        torch.backends.cudnn.benchmark = not request["data"]
        step = Step(request, device)
        start = time.perf_counter()
        step.run(request["data"], 1)
        step.forget_peak()
        versions = f"PyTorch {torch.__version__}, Python {platform.python_version()}"
        return step, {"first_seconds": time.perf_counter() - start, "versions": versions}
    milliseconds = step.run(request["data"], request["steps"])
    return step, {"milliseconds": milliseconds, "peak_megabytes": step.peak_megabytes()}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    if sys.argv[2] != "cpu":
        torch.set_float32_matmul_precision("high")
    step = None
    for line in sys.stdin:
        try:
            step, reply = answer(json.loads(line), step, sys.argv[2])
        except Exception as error:  # the other side decides whether it can do without
            reply = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
        print(json.dumps(reply), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
