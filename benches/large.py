"""More data than memory: N records of 200 floats, as npz, Arrow and Parquet, and what training on each takes.

    python benches/large.py make FOLDER [--records 10000000]
    python benches/large.py run DPC FOLDER [--rounds 3] [--seconds 40]

`make` writes the same records in every format, a block at a time, and an MLP of 4 layers of 512. `run` trains on each
format in turn, and on the npz read into memory (`--in-memory`), for some seconds a turn, and prints medians over the
rounds: rows per second and their ratio to those from memory of the same round, the seconds until the first step, and the
most memory that the process held: VmHWM, and RssAnon, which leaves out what is mapped of files. Parquet is prepared in its
first turn, which is measured apart. Needs numpy, pyarrow, torch and onnx."""

import argparse
import json
import shutil
import statistics
import subprocess
import time
import zipfile
from pathlib import Path

WIDTH, CLASSES, BLOCK = 200, 10, 100_000


def blocks(records):
    import numpy as np

    for first in range(0, records, BLOCK):
        rng = np.random.default_rng(first)
        x = rng.standard_normal((min(BLOCK, records - first), WIDTH), dtype=np.float32)
        yield x, (x[:, :CLASSES].argmax(1)).astype(np.int64)


def npy_header(dtype, shape):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def make(folder, records):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "data.npz", "w") as archive:
        for name, at, dtype, shape in [
            ("input", 0, "<f4", (records, WIDTH)),
            ("label", 1, "<i8", (records,)),
        ]:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(npy_header(dtype, shape))
                for block in blocks(records):
                    member.write(np.ascontiguousarray(block[at]).tobytes())
    lists = pa.list_(pa.float32(), WIDTH)
    schema = pa.schema([("input", lists), ("label", pa.int64())])
    with (
        pa.ipc.new_file(folder / "data.arrow", schema) as arrow,
        pq.ParquetWriter(folder / "data.parquet", schema) as parquet,
    ):
        for x, label in blocks(records):
            column = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), WIDTH)
            batch = pa.record_batch([column, pa.array(label)], schema=schema)
            arrow.write_batch(batch)
            parquet.write_batch(batch)
    model(folder)


def model(folder):
    import torch
    from torch import nn

    widths = [WIDTH, 512, 512, 512, 512]
    layers = [m for a, b in zip(widths, widths[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(512, CLASSES))
    torch.onnx.export(
        net.train(), torch.zeros(2, WIDTH), folder / "mlp.onnx",
        dynamo=True, optimize=False, input_names=["input"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=65536)},),
    )


def status(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "RssAnon"))}


def turn(dpc, folder, data, seconds, flags=()):
    """Trains for `seconds` after the first step, and measures."""
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        dpc, "train", folder / "mlp.dpc", "--data", folder / data, "--out", out, "--noise-multiplier", "1", "--delta", "1e-8",
        "--batch", "1024", "--steps", "1000000", "--lr", "0.1", "--device", "cpu", *flags,
    ]
    began = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    first = anonymous = peak = None
    while process.poll() is None:
        now = status(process.pid)
        anonymous, peak = max(anonymous or 0, now.get("RssAnon", 0)), max(peak or 0, now.get("VmHWM", 0))
        if first is None and (out / "untrained.dpc").exists():
            first = time.monotonic() - began
        if first is not None and time.monotonic() - began > first + seconds:
            process.kill()
        time.sleep(0.05)
    assert first is not None, f"{data} was not trained on"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rates = [line["samples_per_second"] for line in lines[1:]] or [lines[0]["samples_per_second"]]
    return {"rows/s": statistics.median(rates), "first step, s": first, "VmHWM, MB": peak / 1024, "RssAnon, MB": anonymous / 1024}


def run(dpc, folder, rounds, seconds):
    subprocess.run(
        [dpc, "compile", folder / "mlp.onnx", "-o", folder / "mlp.dpc", "--loss", "cross-entropy", "--clip", "flat:1"],
        check=True,
    )
    found = {}
    prepared = list(folder.glob("*.prepared"))
    if not prepared:
        print("data.parquet, with preparation", turn(dpc, folder, "data.parquet", 5), flush=True)
    for _ in range(rounds):
        memory = None
        for name, data, flags in [
            ("memory", "data.npz", ["--in-memory", "100000"]),
            ("npz", "data.npz", []),
            ("arrow", "data.arrow", []),
            ("parquet", "data.parquet", []),
        ]:
            figures = turn(dpc, folder, data, seconds, flags)
            memory = memory or figures["rows/s"]
            found.setdefault(name, []).append(figures | {"of memory": figures["rows/s"] / memory})
            print(name, found[name][-1], flush=True)
    print()
    for name, figures in found.items():
        medians = {key: statistics.median(turn[key] for turn in figures) for key in figures[0]}
        print(name, ", ".join(f"{key} {value:.4g}" for key, value in medians.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="what", required=True)
    making = parts.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--records", type=int, default=10_000_000)
    running = parts.add_parser("run")
    running.add_argument("dpc", type=Path)
    running.add_argument("folder", type=Path)
    running.add_argument("--rounds", type=int, default=3)
    running.add_argument("--seconds", type=int, default=40)
    args = parser.parse_args()
    if args.what == "make":
        make(args.folder, args.records)
    else:
        run(args.dpc, args.folder, args.rounds, args.seconds)
