"""Every kernel of a private step that takes more than its share of the time: what it reaches, and what bounds it.

    cargo build --release
    pip install torch
    python benches/kernels.py [--networks mnist_cnn,cifar_cnn,imdb_lstm] [--batch 64] [--share 0.03] [--threads 2]

The times are those of `dpc inspect --device cpu --measure`. The roofs are measured too: what the product of two large square
matrices reaches by PyTorch or by NumPy, whichever is faster, and what copying arrays does that no cache holds. By its operations for
each byte, a kernel stands under one of them; of one that reaches less than a fifth of its roof, the time is in what neither counts:
short loops, chains of operations that wait for one another, and the start of threads. A kernel may pass the roof of memory: what it
moves is in a cache then. One may pass that of products too: those that patches of zeros would be part of are counted, and not made.
The table goes to benches/kernels.md, unless the machine was busy with something else.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

from report import processor
from turns import HERE, ROOT, busy, compile_model

NETWORKS = ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"]
UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
# What is in a kernel's time beside its operations and its bytes.
WHY = {
    "gemm": "the microkernel, packing of what it reads, and stores of its tiles",
    "outer_sum": "a record's product for itself, so that no other takes part in its rounding, then the sum of the tiles",
    "tile_norm": "the same product as the sum's, squared while in registers",
    "ghost_norm": "inner products of all pairs of positions, short in the inner loop",
    "outer_norm": "two passes over the operands",
    "pool": "compares lines of an image, little work a byte", "pool_vjp": "finds the largest again, and scatters",
    "reduce": "reads each number once", "elementwise": "reads and writes each number once",
    "recurrence": "steps that wait for one another, with a product of few rows each",
    "recurrence_vjp": "steps that wait for one another, with a product of few rows each",
    "gather": "rows of a table, in the order of the ids", "scatter": "rows of a table, sorted by ids",
    "softmax": "an exponential a number", "copy": "moves numbers", "rearrange": "moves numbers",
    "add_noise": "three arrays in, one out", "sgd": "two arrays in, one out", "fill": "writes zeros",
    "nonfinite": "reads parameters again", "carry": "adds integers of a batch to those of 64 bits", "release": "integers and noise in, floats out",
    "sort_ids": "sorts, no arithmetic", "segment_norm": "runs of equal ids, of unequal length",
}


def roofs(threads):
    """GFLOP/s of a large product by the better of two libraries, and GB/s of a large copy."""
    import numpy
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    x, y = torch.zeros(1 << 26), torch.zeros(1 << 26)

    def least(step):
        step()
        times = []
        for _ in range(7):
            begun = time.perf_counter()
            step()
            times.append(time.perf_counter() - begun)
        return min(times)

    c, d = a.numpy(), b.numpy()
    product = min(least(lambda: a @ b), least(lambda: numpy.matmul(c, d)))
    return 2 * 2048**3 / product * 1e-9, 2 * 4 * x.numel() / least(lambda: y.copy_(x)) * 1e-9


def kernels(dpc, artifact, batch, threads):
    """The kernels of a step, `(node, kernel, sizes, operations, bytes, seconds)`, and the seconds of its phases."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    command = [dpc, "inspect", artifact, "--device", "cpu", "--batch", str(batch), "--measure"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(done.stderr)
    found, whole = [], 0.0
    seconds = lambda text: float(text.split()[0]) * UNITS[text.split()[1]]
    for line in done.stdout.splitlines():
        if phase := re.match(r"(private|update): .*, ([\d.]+ \S+) measured", line):
            whole += seconds(phase[2])
        cells = re.split(r" {2,}", line.strip())
        if len(cells) >= 7 and cells[-5].endswith("MFLOP"):
            node, kernel, sizes = (["", *cells[:-5]])[-3:]
            work, moved = float(cells[-5].split()[0]) * 1e6, float(cells[-4].split()[0]) * 1e6
            found.append((node, kernel, sizes, work, moved, seconds(cells[-1])))
    return found, whole


def row(kernel, whole, peak, bandwidth):
    node, name, sizes, work, moved, taken = kernel
    memory = bandwidth * work / moved if moved else float("inf")
    computes = memory >= peak
    rate = f"{work / taken * 1e-9:.1f} GFLOP/s" if computes else f"{moved / taken * 1e-9:.1f} GB/s"
    reached = work / taken * 1e-9 / peak if computes else moved / taken * 1e-9 / bandwidth
    bound = "latency" if reached < 0.2 else "compute" if computes else "memory" if reached <= 1 else "memory, in a cache"
    cells = [node, name, sizes, f"{taken / whole:.1%}", f"{1e3 * taken:.3f} ms", rate, f"{reached:.0%}", bound, WHY.get(name, "")]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dpc", default=os.path.join(ROOT, "target", "release", "dpc"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    was_busy = busy()
    peak, bandwidth = roofs(options.threads)
    lines = [f"Roofs: {peak:.0f} GFLOP/s, {bandwidth:.1f} GB/s."]
    for network in options.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            artifact = os.path.join(folder, "m.dpc")
            compile_model(options.dpc, os.path.join(ROOT, "models", f"{network}.onnx"), artifact, "cross-entropy")
            found, whole = kernels(options.dpc, artifact, options.batch, options.threads)
        shown = [kernel for kernel in found if kernel[-1] >= options.share * whole]
        rest = sum(kernel[-1] for kernel in found) - sum(kernel[-1] for kernel in shown)
        work = sum(kernel[3] for kernel in found)
        lines += ["", f"## {network}, batch {options.batch}", "",
                  f"{1e3 * whole:.3f} ms a step without noise's making, {work / whole * 1e-9:.1f} GFLOP/s over all of it, "
                  f"{work / whole * 1e-9 / peak:.0%} of the roof; the {len(found) - len(shown)} other kernels take {rest / whole:.1%}.", "",
                  "| node | kernel | sizes | share | time | rate | of its roof | bound | beside |", "|---" * 9 + "|"]
        lines += [row(kernel, whole, peak, bandwidth) for kernel in shown]
    text = "\n".join(lines)
    print(text)
    if was_busy:
        sys.exit("the machine was busy when this began: nothing is written")
    with open(os.path.join(HERE, "kernels.md"), "w") as file:
        threads = options.threads
        told = f"By `benches/kernels.py` on {processor()}: {threads} threads; kernels from {options.share:.0%} of a step on."
        file.write(f"# The kernels of a step\n\n{told}\n\n{text}\n")


if __name__ == "__main__":
    main()
