"""Trains networks of `architecture_nets.py` privately for fifty steps on both devices, on data with signal, and prints how the
loss falls: many noisy copies of the few records of a batch, whose labels a network can learn.

    python models/training.py DPC [NAME…]

With `transformers` installed, its BERT and GPT-2 too, of a tiny random configuration. Without names it writes `TRAINING.md`, with
names it prints their rows of it.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from architecture_nets import ARCHITECTURES, Architecture
from recipes import export

NAMES = ("opacus_mnist_cnn", "opacus_imdb_lstm", "gru", "gpt_tied", "vision_transformer", "resnet18_group_norm", "u_net", "bert")
COPIES, BATCH, STEPS = 64, 64, 50
HEAD = f"""# Networks of every kind, trained privately

`python models/training.py dpc`: {STEPS} steps of {BATCH} records expected with Adam at a learning rate of 0.01, noise multiplier
1 and `flat:1`, on {COPIES} noisy copies of each of the few records of a batch, by the same seed on both devices; the loss is that
of `dpc eval` before and after. Labels are arbitrary, which a network has to learn by heart, but the U-Net's are its images,
smoothed. Seconds are those of `dpc train`, which on the gpu begins with compiling shaders; those here are of two shared cores whose
gpu is software Vulkan.

| network | parameters | records | loss before | after, cpu | after, gpu | cpu | gpu |
|---|---|---|---|---|---|---|---|
"""
# Labels with structure, for a network that is too small to learn arbitrary ones by heart.
LABELS = {"u_net": lambda inputs: F.avg_pool2d(inputs["input"], 3, 1, 1)}
SETTINGS = ["--noise-multiplier", "1", "--delta", "1e-5", "--batch", BATCH, "--steps", STEPS, "--lr", "0.01"]


class Hugging(nn.Module):
    """A model of transformers, of its ids and its mask."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, mask):
        return self.model(input_ids=tokens, attention_mask=mask).logits


def hugging_face():
    try:
        from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel
    except ImportError:
        return {}
    torch.manual_seed(0)
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    tokens, mask = torch.randint(0, 50, (5, 8)), torch.ones(5, 8, dtype=torch.int64)
    mask[1, 5:] = 0

    def bert():
        config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                            max_position_embeddings=16, **off)
        return Hugging(BertForSequenceClassification(config)), {"tokens": tokens, "mask": mask}, torch.randint(0, 2, (5,))

    def gpt2():
        config = GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
                            attn_pdrop=0.0, use_cache=False)
        return Hugging(GPT2LMHeadModel(config)), {"tokens": tokens, "mask": mask}, torch.randint(0, 50, (5, 8))

    return {"hf_bert": Architecture("hf_bert", bert), "hf_gpt2": Architecture("hf_gpt2", gpt2, "cross-entropy:axis=last")}


def run(dpc, *arguments):
    done = subprocess.run([dpc, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def train(dpc, entry, folder):
    net, inputs, label = entry.make()
    if entry.name in LABELS:
        label = LABELS[entry.name](inputs)
    recipe = "dyn" if entry.name.startswith("hf") else "ts"
    path, data, compiled = (folder / f"{entry.name}.{kind}" for kind in ("onnx", "npz", "dpc"))
    export(recipe, net, {name: value[:2] for name, value in inputs.items()}, path)
    noise = lambda name, value: value + 0.1 * torch.randn_like(value) if name != "label" and value.is_floating_point() else value
    arrays = {name: value.repeat(COPIES, *[1] * (value.dim() - 1)) for name, value in (inputs | {"label": label}).items()}
    np.savez(data, **{name: noise(name, value).numpy() for name, value in arrays.items()})
    run(dpc, "compile", path, "-o", compiled, "--loss", entry.loss, "--optimizer", "adam")
    loss = lambda what: json.loads(run(dpc, "eval", what, "--data", data, "--json").splitlines()[-1])["loss"]
    before, after, seconds = loss(compiled), [], []
    for device in ("cpu", "gpu"):
        out, start = folder / f"{entry.name}.{device}", time.time()
        run(dpc, "train", compiled, "--data", data, *SETTINGS, "--device", device, "--out", out, "--insecure-seed", "1")
        seconds.append(time.time() - start)
        after.append(loss(out))
        print(f"{entry.name:20} {device}: loss {before:.3f} to {after[-1]:.3f} in {seconds[-1]:.0f} s", flush=True)
        if not after[-1] < before:
            raise SystemExit(f"{entry.name}: the loss does not fall on {device}")
    cells = [entry.name, sum(value.numel() for value in net.parameters()), len(label) * COPIES, f"{before:.3f}",
             *(f"{value:.3f}" for value in after), *(f"{value:.0f} s" for value in seconds)]
    return f"| {' | '.join(map(str, cells))} |\n"


def main():
    dpc, *names = sys.argv[1:]
    entries = {name: ARCHITECTURES[name] for name in NAMES} | hugging_face()
    with tempfile.TemporaryDirectory() as folder:
        rows = [train(dpc, entry, Path(folder)) for name, entry in entries.items() if not names or name in names]
    if names:
        print("".join(rows))
    else:
        Path(__file__).with_name("TRAINING.md").write_text(HEAD + "".join(rows))


if __name__ == "__main__":
    main()
