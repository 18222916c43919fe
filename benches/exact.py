"""What integer sums with exact discrete noise cost beside floats (`--noise float`): time of a step, and accuracy.

    cargo build --release
    python benches/exact.py [--rounds 5] [--devices cpu,gpu] [--runs 5 --fashion DIR]

Steps: private ones of the four networks of the Opacus paper, both kinds in turn, on the devices; a device that is not there is left
out. Accuracies: with `--fashion`, a folder of Fashion-MNIST's four IDX files (Debian's package `dataset-fashion-mnist`), runs of each
kind in turn, each with randomness of its own, at ε = 2.7 and δ = 1e-5 with README's settings. The tables go to benches/exact.md;
that of steps not if the machine was busy with something else. Needs nothing but Python.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from turns import ROOT, busy, figures

KINDS = ["exact", "float"]
NETWORKS = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"]
PAGE = Path(__file__).with_suffix(".md")
STEPS, ACCURACIES = "## A step", "## Fashion-MNIST"
# What software devices take minutes for.
SLOW = {("gpu", "cifar_cnn"): [16], ("gpu", "imdb_lstm"): [16]}


def compiled(dpc, folder, network, kind, *flags):
    made = os.path.join(folder, f"{network}-{kind}.dpc")
    model = os.path.join(ROOT, "models", f"{network}.onnx")
    subprocess.run([dpc, "compile", model, "-o", made, "--loss", "cross-entropy", "--noise", kind, *flags], check=True, capture_output=True)
    return made


def steps(options, folder):
    """Rows of the table of steps: medians over the rounds, and of each round's ratio."""
    lines = ["| device | network | batch | exact | float | exact ÷ float | least and most of the rounds |", "|---|---|---|---|---|---|---|"]
    for device in options.devices.split(","):
        for network in NETWORKS:
            artifacts = {kind: compiled(options.dpc, folder, network, kind) for kind in KINDS}
            for batch in SLOW.get((device, network), [64, 256]):
                command = lambda kind: [options.dpc, "bench", "step", artifacts[kind], "--batch", str(batch), "--device", device, "--json"]
                rounds = [{kind: figures(command(kind), options.threads) for kind in KINDS} for _ in range(options.rounds)]
                if not all(one for round in rounds for one in round.values()):
                    print(f"{device}: {network} at {batch} did not run", flush=True)
                    continue
                ratios = [round["exact"]["median_ms"] / round["float"]["median_ms"] for round in rounds]
                exact, floats = (statistics.median(round[kind]["median_ms"] for round in rounds) for kind in KINDS)
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                lines.append(f"| {device} | {network} | {batch} | {exact:.3g} ms | {floats:.3g} ms | {statistics.median(ratios):.2f} | {spread} |")
                print(lines[-1], flush=True)
    return "\n".join(lines)


def accuracies(options, folder):
    """Rows of the table of accuracies."""
    files = lambda part: ",".join(f"{options.fashion}/{part}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1"))
    found = {kind: [] for kind in KINDS}
    made = {kind: compiled(options.dpc, folder, "mnist_cnn_tanh", kind, "--clip", "flat:0.1", "--optimizer", "sgd:momentum=0.9",
                           "--max-batch", "512") for kind in KINDS}
    for run in range(options.runs):
        for kind in KINDS:
            out = os.path.join(folder, f"{kind}-{run}")
            command = [options.dpc, "train", made[kind], "--data", files("train"), "--valid", files("t10k"), "--epsilon", "2.7", "--delta", "1e-5",
                       "--batch", "2048", "--epochs", "40", "--lr", "4", "--device", "cpu", "--json", "--out", out]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(done.stderr)
            result = json.loads(done.stdout.strip().splitlines()[-1])
            found[kind].append(100 * result["valid"]["accuracy"])
            print(kind, found[kind][-1], flush=True)
    lines = ["| noise | runs | median | least | most |", "|---|---|---|---|---|"]
    lines += [f"| {kind} | {len(all)} | {statistics.median(all):.2f} % | {min(all):.2f} % | {max(all):.2f} % |" for kind, all in found.items()]
    return "\n".join(lines)


def replaced(page, heading, text):
    """The page with the text below a heading replaced, or the heading added."""
    before, _, rest = page.partition(f"{heading}\n")
    _, _, after = rest.partition("\n## ")
    return f"{before.rstrip()}\n\n{heading}\n\n{text}\n" + (f"\n## {after}" if after else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dpc", default=os.path.join(ROOT, "target", "release", "dpc"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--devices", default="cpu,gpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fashion")
    parser.add_argument("--only-accuracies", action="store_true")
    options = parser.parse_args()
    page = PAGE.read_text() if PAGE.exists() else "# Integer sums and exact noise beside floats\n"
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "an unknown processor")
    with tempfile.TemporaryDirectory() as folder:
        if not options.only_accuracies:
            was_busy = busy()
            text = steps(options, folder)
            if was_busy:
                print("the machine was busy when this began: steps are not written")
            else:
                told = f"By `benches/exact.py`: {options.threads} threads, {model}; medians of {options.rounds} rounds in turn."
                page = replaced(page, STEPS, f"{told}\n\n{text}")
        if options.fashion:
            told = "`mnist_cnn_tanh.onnx` at ε = 2.7, δ = 1e-5 (B 2048, lr 4, momentum 0.9, C 0.1, 40 epochs): test accuracies of runs with randomness of their own."
            page = replaced(page, ACCURACIES, f"{told}\n\n{accuracies(options, folder)}")
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
