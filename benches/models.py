"""Step times of models of today: dpc private and not, beside PyTorch without privacy and Opacus.

    cargo build --release
    pip install torch opacus onnx onnxscript transformers
    python benches/models.py [--models resnet18,gpt2] [--rounds 2] [--threads 2]

ResNet-18 with GroupNorm at 3×224×224, ViT-Tiny at the same size, a six-layer transformer encoder over 512 tokens, GPT-2 small over
128 tokens, and LoRA of rank 8 beside its attention weights. The table goes to benches/models.md, and a plot of it to
benches/models.svg; with the time and memory that compiling takes, and the memory that `dpc inspect` predicts for a step.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from report import bars, ratio, table, write
from turns import ROOT, arguments, busy, exported, measured, opacus, runs_itself

BATCHES = {"resnet18": 8, "vit_tiny": 8, "encoder": 8, "gpt2": 4, "gpt2_lora": 4}
PEERS = ["torch", "opacus"]


def resnet18(nn):
    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.GroupNorm(32, outputs), nn.GroupNorm(32, outputs)
            plain = stride == 1 and inputs == outputs
            self.short = nn.Identity() if plain else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(32, outputs))

        def forward(self, x):
            y = self.norm2(self.conv2(nn.functional.relu(self.norm1(self.conv1(x)))))
            return nn.functional.relu(y + self.short(x))

    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.GroupNorm(32, 64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for inputs, outputs, stride in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]:
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def encoder_layer(nn, width, heads, inner):
    """Pre-norm, with plain linear layers, which is what Opacus can take apart."""
    import math

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
            self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

        def forward(self, x):
            split = lambda y: y.reshape(y.shape[0], y.shape[1], heads, width // heads).transpose(1, 2)
            y = self.norm1(x)
            weights = split(self.q(y)) @ split(self.k(y)).transpose(2, 3) / math.sqrt(width // heads)
            y = weights.softmax(-1) @ split(self.v(y))
            x = x + self.o(y.transpose(1, 2).reshape(x.shape))
            return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))

    return Layer()


def vit_tiny(nn):
    import torch

    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 192, 16, 16)
            self.position = nn.Parameter(0.02 * torch.randn(196, 192))
            self.layers = nn.Sequential(*[encoder_layer(nn, 192, 3, 768) for _ in range(12)])
            self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 1000)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2) + self.position
            return self.head(self.norm(self.layers(x)).mean(1))

    return ViT()


def encoder(nn):
    import torch

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10_000, 256)
            self.position = nn.Parameter(0.02 * torch.randn(512, 256))
            self.layers = nn.Sequential(*[encoder_layer(nn, 256, 4, 1024) for _ in range(6)])
            self.head = nn.Linear(256, 2)

        def forward(self, ids):
            return self.head(self.layers(self.embedding(ids) + self.position).mean(1))

    return Encoder()


def gpt2(nn, rank):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, attn_implementation="eager")
    model = GPT2LMHeadModel(config)

    class Adapted(nn.Module):
        def __init__(self, base):
            super().__init__()
            inputs, outputs = base.weight.shape
            self.base = base
            self.lora_a = nn.Parameter(torch.randn(rank, inputs) / inputs ** 0.5)
            self.lora_b = nn.Parameter(1e-3 * torch.randn(outputs, rank))

        def forward(self, x):
            return self.base(x) + nn.functional.linear(nn.functional.linear(x, self.lora_a), self.lora_b)

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(input_ids=ids).logits

    if rank:
        model.requires_grad_(False)
        for block in model.transformer.h:
            block.attn.c_attn = Adapted(block.attn.c_attn)
    return Logits()


def build(kind):
    """The model, a batch of inputs and one of labels, as a function of the batch, and the loss."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    images = lambda batch: torch.randn(batch, 3, 224, 224)
    ids = lambda count, length: lambda batch: torch.randint(0, count, (batch, length))
    classes = lambda count: lambda batch: torch.randint(0, count, (batch,))
    return {
        "resnet18": lambda: (resnet18(nn), images, classes(1000), "cross-entropy"),
        "vit_tiny": lambda: (vit_tiny(nn), images, classes(1000), "cross-entropy"),
        "encoder": lambda: (encoder(nn), ids(10_000, 512), classes(2), "cross-entropy"),
        "gpt2": lambda: (gpt2(nn, 0), ids(50_257, 128), ids(50_257, 128), "cross-entropy:axis=last"),
        "gpt2_lora": lambda: (gpt2(nn, 8), ids(50_257, 128), ids(50_257, 128), "cross-entropy:axis=last"),
    }[kind]()


def peer(name, kind, batch):
    """A step of a peer on random data."""
    import torch

    net, inputs, labels, _ = build(kind)
    x, y = inputs(batch), labels(batch)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.05)
    if name == "opacus":
        net, optimizer, _ = opacus(net, optimizer, (x, y), batch)
    flat = lambda logits: logits.reshape(-1, logits.shape[-1])

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(flat(net(x)), y.reshape(-1)).backward()
        optimizer.step()

    net.train()
    return step


def export_model(kind, path):
    sys.path.insert(0, os.path.join(ROOT, "models"))
    from recipes import export

    net, inputs, _, _ = build(kind)
    export("dyn" if kind.startswith("gpt2") else "ts", net, {"x": inputs(2)}, Path(path), outputs=("logits",))


def compiled(dpc, kind, model, artifact, batch):
    """The seconds and the memory beyond the weights that compiling took, and the memory that a step is predicted to take."""
    loss = "cross-entropy:axis=last" if kind.startswith("gpt2") else "cross-entropy"
    frozen = ["--train", "*lora*"] if kind == "gpt2_lora" else []
    begun = time.perf_counter()
    process = subprocess.Popen([dpc, "compile", model, "-o", artifact, "--loss", loss, "--max-batch", str(batch), *frozen])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{kind} does not compile")
    taken = time.perf_counter() - begun
    weights = sum(file.stat().st_size for file in Path(model).parent.glob(f"{kind}.onnx*"))
    said = subprocess.run([dpc, "inspect", artifact], capture_output=True, text=True).stdout
    predicted = [re.search(pattern, said) for pattern in (rf"physical batch {batch} +([\d.]+) MiB", r"together +([\d.]+) MiB")]
    return taken, usage.ru_maxrss / 1024 - weights / 2**20, sum(float(found[1]) for found in predicted if found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(BATCHES))
    arguments(parser, "", 2)
    options, script = parser.parse_args(), os.path.abspath(__file__)
    if runs_itself(script, options, peer, export_model):
        return
    compilations = {}

    def artifact(kind, batch, folder):
        made = os.path.join(folder, f"{kind}.dpc")
        compilations[kind] = compiled(options.dpc, kind, exported(script, kind, folder), made, batch)
        return made

    def costs(case):
        seconds, memory, predicted = compilations[case[0]]
        return [f"{predicted:.0f} MiB", f"{seconds:.1f} s, {memory:.0f} MiB beyond the weights"]

    was_busy = busy()
    rows = measured(options, script, [(kind, BATCHES[kind]) for kind in options.models.split(",")], artifact, PEERS)
    ratios = [("dpc ÷ PyTorch", "dpc", "torch"), ("Opacus ÷ dpc", "opacus", "dpc"), ("private ÷ own non-private", "dpc", "dpc non-private")]
    groups = [(f"{kind}, batch {batch}", [(name, ratio(found, name, "torch")) for name in ("dpc", "opacus")]) for (kind, batch), found in rows.items()]
    title = "private step ÷ PyTorch's without privacy (logarithmic, from 1/2)"
    picture = bars(groups, ["#1b6ca8", "#e07a5f"], title, "what privacy costs", -1, 6)
    text = table(rows, "model", ratios, ["memory predicted", "compiled in"], costs)
    write("models", "Models of today", script, options, was_busy, text, picture)


if __name__ == "__main__":
    main()
