"""Reads what `dpc train --tensorboard` writes with TensorBoard's own reader, and holds it to the run's metrics:

    pip install tensorboard==2.21.0 numpy
    python tests/oracles/tensorboard_events.py DPC

DPC is the program, as in target/release/dpc. Every scalar of every line of metrics.jsonl must be there at its step, histograms of
norms only where they were asked for, and after a resumption nothing twice.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = [
    "train", "m.dpc", "--data", str(ROOT / "models/digits_train.npz"), "--valid", str(ROOT / "models/digits_test.npz"),
    "--valid-every", "4", "--epsilon", "3", "--delta", "1e-4", "--batch", "128", "--lr", "5", "--lr-schedule", "cosine",
    "--dp-metrics", "--json", "--device", "cpu", "--checkpoint-interval", "0",
]


def main(dpc):
    with tempfile.TemporaryDirectory() as place:
        run = lambda *words: subprocess.run([dpc, *words], cwd=place, check=True, stdout=subprocess.DEVNULL)
        clip = "per-group:*.weight=0.1;*.bias=0.05"
        run("compile", str(ROOT / "models/digits_cnn.onnx"), "--loss", "cross-entropy", "--clip", clip, "-o", "m.dpc")
        for name, more, private in [("public", [], False), ("observed", ["--record-private-metrics"], True)]:
            flags = [*TRAIN, *more, "--out", name, "--tensorboard", f"{name}.board", "--steps"]
            run(*flags, "20")
            compare(pathlib.Path(place), name, private)
            # A run of as many steps goes on to nothing; its new file must hide nothing.
            run(*flags, "20", "--resume")
            compare(pathlib.Path(place), name, private)


def compare(place, name, private):
    lines = [json.loads(line) for line in (place / name / "metrics.jsonl").read_text().splitlines()]
    board = EventAccumulator(str(place / f"{name}.board"), size_guidance={"scalars": 0, "histograms": 0})
    board.Reload()
    tags = board.Tags()
    expected = {}
    for line in lines:
        for tag, value in figures(line):
            if value is not None:
                expected.setdefault(tag, []).append((line["step"], value))
    found = {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in tags["scalars"]}
    assert sorted(found) == sorted(expected), (sorted(found), sorted(expected))
    for tag, points in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points], tag
        for (_, ours), (_, theirs) in zip(points, found[tag]):
            assert abs(ours - theirs) <= 1e-6 * abs(ours), (tag, ours, theirs)
    histograms = ["not_private/gradient_norm"] if private else []
    assert tags["histograms"] == histograms, tags["histograms"]
    for tag in histograms:
        for event in board.Histograms(tag):
            value = event.histogram_value
            assert value.num == sum(value.bucket) > 0 and value.min <= value.sum / value.num <= value.max
    print(f"{name}: {len(lines)} lines; scalars {', '.join(sorted(found))}; histograms {', '.join(histograms) or 'none'}")


def figures(line):
    """The tags that a line of metrics stands for."""
    yield "privacy/epsilon", line["epsilon"]
    yield "privacy/noise_multiplier", line["noise_multiplier"]
    for k, bound in enumerate(line["clip_bounds"], 1):
        yield "privacy/clip_bound" + (f"/{k}" if len(line["clip_bounds"]) > 1 else ""), bound
    yield "train/epoch", line["epoch"]
    yield "train/learning_rate", line["learning_rate"]
    yield "train/steps_per_second", line["steps_per_second"]
    yield "train/samples_per_second", line["samples_per_second"]
    for key in ["loss", "accuracy", "top5", "macro_f1", "roc_auc", "rmse", "mae", "r2"]:
        if line.get("valid", {}).get(key) is not None:
            yield f"valid/{key}", line["valid"][key]
    for key in ["batch_size", "loss"]:
        yield f"estimates/{key}", line["estimates"][key]
    for key in ["loss", "clipped_fraction"]:
        yield f"not_private/{key}", line.get("not_private", {}).get(key)


if __name__ == "__main__":
    main(str(pathlib.Path(sys.argv[1]).resolve()))
