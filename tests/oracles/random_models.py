"""Random models of the tests (src/tests/random) by onnxruntime: what dpc has for their outputs, and for each record's gradient.

    DPC_RANDOM_OUT=DIR DPC_RANDOM_MODELS=2000 cargo test --lib random_models
    pip install onnx onnxruntime numpy
    python tests/oracles/random_models.py DIR

Every DIR/NUMBER.onnx runs on the data in DIR/NUMBER.json, and its outputs are held to those of dpc there, within 1e-4 of each
output's largest element. Prints those that are farther, those that onnxruntime does not run with its reason, and the totals.
"""

import json
import pathlib
import sys
from collections import Counter

import numpy as np
import onnxruntime

onnxruntime.set_default_logger_severity(4)


def arrays(inputs):
    for array in inputs:
        values = np.array(array["values"], np.float32 if array["float"] else np.int64)
        yield array["name"], values.reshape(array["dims"])


def check(path):
    """What onnxruntime makes of a model: None where all is near, words where not."""
    data = json.loads(path.with_suffix(".json").read_text())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    far = []
    for name, expected in zip(names, session.run(names, dict(arrays(data["inputs"])))):
        found = np.array(data["outputs"][name], np.uint32).view(np.float32).astype(np.float64)
        expected = expected.astype(np.float64).ravel()
        if found.shape != expected.shape:
            far.append(f"{name} has {found.size} elements in place of {expected.size}")
            continue
        finite = np.isfinite(expected)
        if (finite != np.isfinite(found)).any():
            far.append(f"{name} is not finite elsewhere")
        largest = np.abs(expected[finite]).max(initial=0.0)
        off = np.abs(found - expected)[finite].max(initial=0.0)
        if off > 1e-4 * largest + 1e-5:
            far.append(f"{name} is off by {off:.1e} of {largest:.1e}")
    return ", ".join(far) or None


def main():
    counts, reasons = Counter(), Counter()
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"), key=lambda path: int(path.stem)):
        try:
            problem = check(path)
        except Exception as error:  # whatever onnxruntime raises
            counts["not run"] += 1
            reasons[str(error).splitlines()[0][:160]] += 1
            print(f"{path.stem}: not run: {str(error).splitlines()[0][:200]}")
            continue
        counts["far" if problem else "near"] += 1
        if problem:
            print(f"{path.stem}: {problem}")
    print(dict(counts))


if __name__ == "__main__":
    main()
