"""Compares a private step of a transformer of which everything is trained with one of which only LoRA factors are: 6 layers of
width 384, frozen weights with factors of rank 8 beside those of queries and values, as in Hu et al. 2021.

    python models/lora.py DPC [--device D] [--batch B …] [--length T] [--top K] [--all]

`--top` puts factors into the last K layers alone, `--all` beside every weight of a layer. Both networks are timed in turn, three
times, and the least of the times counts; `dpc inspect` must say nothing of norms and gradients of frozen weights.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from recipes import export

LAYERS, WIDTH, HEADS, TOKENS, CLASSES, RANK = 6, 384, 6, 1000, 4, 8
TURNS = 3


class Adapted(nn.Module):
    """A linear layer, with low-rank factors beside its weight if `rank` is not zero."""

    def __init__(self, inputs, outputs, rank):
        super().__init__()
        self.base, self.rank = nn.Linear(inputs, outputs), rank
        if rank:
            self.lora_a = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
            self.lora_b = nn.Parameter(1e-3 * torch.randn(outputs, rank))

    def forward(self, x):
        return self.base(x) + (F.linear(F.linear(x, self.lora_a), self.lora_b) if self.rank else 0)


class Layer(nn.Module):
    def __init__(self, rank, everywhere):
        super().__init__()
        other = rank if everywhere else 0
        self.q, self.v = Adapted(WIDTH, WIDTH, rank), Adapted(WIDTH, WIDTH, rank)
        self.k, self.o = Adapted(WIDTH, WIDTH, other), Adapted(WIDTH, WIDTH, other)
        self.up, self.down = Adapted(WIDTH, 4 * WIDTH, other), Adapted(4 * WIDTH, WIDTH, other)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x):
        heads = lambda y: y.reshape(-1, y.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)
        y = self.norm1(x)
        q, k, v = (heads(part(y)) for part in (self.q, self.k, self.v))
        y = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS), -1) @ v
        x = x + self.o(y.transpose(1, 2).reshape(-1, x.shape[1], WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, length, rank=0, everywhere=False, top=LAYERS):
        super().__init__()
        ranks = [rank if layer >= LAYERS - top else 0 for layer in range(LAYERS)]
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(length, WIDTH))
        self.layers = nn.Sequential(*[Layer(own, everywhere) for own in ranks])
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids):
        return self.head(self.layers(self.embedding(ids) + self.position).mean(1))


def run(*arguments):
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def said(inspected):
    """What `dpc inspect` says of parameters, and that it says nothing more of those that are frozen."""
    parameters, *others = inspected.split("\n\n")[1:]
    frozen = [line.split()[0] for line in parameters.splitlines() if line.endswith("frozen")]
    kept = [name for name in frozen if any(name in part.split() for part in others)]
    if kept:
        raise SystemExit(f"kept for frozen weights: {kept}")
    [private] = [line for line in others[2].splitlines() if line.startswith("  private")]
    return f"{parameters.splitlines()[0]}; nothing is kept for {len(frozen)} frozen ones; {' '.join(private.split())}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dpc")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--top", type=int, default=LAYERS, choices=range(1, LAYERS + 1))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--keep", type=Path, help="where the artifacts stay")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = flags.keep or Path(folder)
        artifacts = {}
        for name, rank, options in (("full", 0, []), ("lora", RANK, ["--train", "*lora*"])):
            torch.manual_seed(0)
            net, path = Transformer(flags.length, rank, flags.all, flags.top), folder / f"{name}.onnx"
            export("dyn", net, {"ids": torch.randint(0, TOKENS, (2, flags.length))}, path)
            artifacts[name] = folder / f"{name}.dpc"
            run(flags.dpc, "compile", path, "-o", artifacts[name], "--loss", "cross-entropy", "--optimizer", "adam", *options)
            print(name, said(run(flags.dpc, "inspect", artifacts[name])))
        for batch in flags.batch:
            step = lambda name: json.loads(run(flags.dpc, "bench", "step", artifacts[name], "--batch", batch, "--device",
                                               flags.device, "--json").splitlines()[-1])
            times = [{name: step(name) for name in artifacts} for _ in range(TURNS)]
            full, lora = (min(turn[name]["min_ms"] for turn in times) for name in artifacts)
            memory = [times[0][name]["peak_bytes"] / 2**20 for name in artifacts]
            print(f"batch {batch} of {flags.length} tokens: full {full:.0f} ms, {memory[0]:.0f} MiB; "
                  f"LoRA {lora:.0f} ms, {memory[1]:.0f} MiB; {lora / full:.1%}", flush=True)


if __name__ == "__main__":
    main()
