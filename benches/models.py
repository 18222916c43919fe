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
import tempfile
import time
import warnings
from pathlib import Path

from turns import ROOT, arguments, bars, busy, in_turn, time_steps, write

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


def peer(kind, batch, name, threads):
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    net, inputs, labels, _ = build(kind)
    x, y = inputs(batch), labels(batch)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.05)
    if name == "opacus":
        from opacus import PrivacyEngine

        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=batch)
        net, optimizer, _ = PrivacyEngine().make_private(
            module=net, optimizer=optimizer, data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0, poisson_sampling=False)
    flat = lambda logits: logits.reshape(-1, logits.shape[-1])

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(flat(net(x)), y.reshape(-1)).backward()
        optimizer.step()

    net.train()
    time_steps(step)


def export_model(kind, path):
    sys.path.insert(0, os.path.join(ROOT, "models"))
    from recipes import export

    net, inputs, _, _ = build(kind)
    export("dyn" if kind.startswith("gpt2") else "ts", net, {"x": inputs(2)}, Path(path), outputs=("logits",))


def compiled(dpc, kind, folder, batch):
    """The artifact, the seconds and the memory beyond the weights that it took, and the memory that a step is predicted to take."""
    model, artifact = os.path.join(folder, f"{kind}.onnx"), os.path.join(folder, f"{kind}.dpc")
    subprocess.run([sys.executable, os.path.abspath(__file__), "--export", kind, model], check=True)
    loss = "cross-entropy:axis=last" if kind.startswith("gpt2") else "cross-entropy"
    frozen = ["--train", "*lora*"] if kind == "gpt2_lora" else []
    begun = time.perf_counter()
    process = subprocess.Popen([dpc, "compile", model, "-o", artifact, "--loss", loss, "--max-batch", str(batch), *frozen])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        return None
    taken = time.perf_counter() - begun
    weights = sum(file.stat().st_size for file in Path(folder).glob(f"{kind}.onnx*"))
    said = subprocess.run([dpc, "inspect", artifact], capture_output=True, text=True).stdout
    predicted = re.search(rf"physical batch {batch} +([\d.]+) MiB", said)
    return artifact, taken, usage.ru_maxrss / 1024 - weights / 2**20, float(predicted[1]) if predicted else 0.0


def ratio(found, a, b):
    return found[a]["median_ms"] / found[b]["median_ms"] if found.get(a) and found.get(b) else None


def table(rows, names, compilations):
    ratios = [("dpc ÷ PyTorch", "dpc", "torch"), ("Opacus ÷ dpc", "opacus", "dpc"), ("private ÷ own non-private", "dpc", "dpc non-private")]
    heads = [*names, *(head for head, _, _ in ratios), "memory predicted", "compiled in"]
    lines = ["| model | batch | " + " | ".join(heads) + " |", "|---|---|" + "---|" * len(heads)]
    for kind, found in rows.items():
        cells = [f"{found[name]['median_ms']:.4g} ms, {found[name]['memory']:.0f} MiB" if found.get(name) else "failed" for name in names]
        cells += [f"{value:.2f}" if (value := ratio(found, a, b)) else "" for _, a, b in ratios]
        seconds, memory, predicted = compilations[kind]
        cells += [f"{predicted:.0f} MiB", f"{seconds:.1f} s, {memory:.0f} MiB beyond the weights"]
        lines.append(f"| {kind} | {BATCHES[kind]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(BATCHES))
    parser.add_argument("--export", nargs=2, metavar=("MODEL", "PATH"), help=argparse.SUPPRESS)
    arguments(parser, "", 2)
    options = parser.parse_args()
    if options.export:
        return export_model(*options.export)
    if options.peer:
        name, kind, batch = options.peer
        return peer(kind, int(batch), name, options.threads)
    was_busy, rows, compilations = busy(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.models.split(","):
            batch = BATCHES[kind]
            made = compiled(options.dpc, kind, folder, batch)
            if not made:
                sys.exit(f"{kind} does not compile")
            artifact, *compilations[kind] = made
            step = [options.dpc, "bench", "step", artifact, "--batch", str(batch), "--device", "cpu", "--json"]
            itself = [sys.executable, os.path.abspath(__file__), "--threads", str(options.threads), "--peer"]
            commands = {"dpc": step, "dpc non-private": [*step, "--non-private"],
                        **{name: [*itself, name, kind, str(batch)] for name in PEERS}}
            found = rows[kind] = in_turn(commands, options.rounds, options.threads)
            print(kind, compilations[kind], {name: one and round(one["median_ms"], 1) for name, one in found.items()}, flush=True)
    names = ["dpc", "dpc non-private", *PEERS]
    groups = [(f"{kind}, batch {BATCHES[kind]}", [(name, ratio(found, name, "torch")) for name in ("dpc", "opacus")]) for kind, found in rows.items()]
    picture = bars(groups, ["#1b6ca8", "#e07a5f"], "private step ÷ PyTorch's without privacy (logarithmic, from 1/2)", "what privacy costs", -1, 6)
    write("models", "Models of today", "models.py", options, was_busy, table(rows, names, compilations), picture)


if __name__ == "__main__":
    main()
