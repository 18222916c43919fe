#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator computes Softmax and LogSoftmax of operator sets below 13 by the rule of 13.
#
# Until opset 12 the operator flattened its operand to two dimensions at `axis` (1 by default) and normalised over all that
# follows; since 13 it normalises over the one axis (-1 by default). onnxruntime goes by the version of the file, the
# reference evaluator does not: it is no oracle for these two operators in old files. Seen: a softmax of a [2, 3, 4] operand
# without `axis` sums to 1 over each record's 12 elements in onnxruntime, and over another axis in the reference evaluator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("f4")
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape)
for operator in ("Softmax", "LogSoftmax"):
    for opset in (11, 13):
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [value("x")], [value("y")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        runtime = session.run(None, {"x": x})[0]
        reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
        exact = lambda y: np.exp(y) if operator == "LogSoftmax" else y
        by_record = exact(runtime).reshape(2, -1).sum(1)
        differ = float(np.abs(runtime - reference).max())
        print(operator, "opset", opset, "runtime sums over a record to", by_record.round(3), "largest difference", round(differ, 3))
        if opset == 11:
            assert np.allclose(by_record, 1, atol=1e-5), "onnxruntime no longer follows the rule of opset 11"
            assert differ > 0.1, "the reference evaluator follows the rule of opset 11 now"
        else:
            assert differ < 1e-5, "the two differ at opset 13"
PY
