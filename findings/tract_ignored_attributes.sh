#!/usr/bin/env bash
# tract-onnx 0.23.9: attributes that valid files set are ignored without a word, so that results are another operator's.
#
# An RNN, GRU or LSTM of the one direction `reverse` runs forward; its `clip` and its `activations` are not read. Swish and
# Celu have an `alpha` of 1 whatever the file says. Pad of mode `reflect` or `edge` with a constant_value, which the
# specification has for mode `constant` alone, fills with that value. Nothing is refused. Seen: all seven differ from
# onnxruntime (Swish from the reference evaluator), and the same operators without these attributes do not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
cat > models.py <<'PY'
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

random = np.random.default_rng(3)
floats = lambda *shape: random.standard_normal(shape).astype("f4")
steps, weights, recurrent = floats(4, 1, 3), floats(1, 5, 3), floats(1, 5, 5)
row = np.array([-1.5, 0.5, 2], "f4")
image = floats(1, 1, 3, 4)
pads = [np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(7)]
rnn = lambda **attributes: ("RNN", steps, [weights, recurrent], 14, {"hidden_size": 5, **attributes})
CASES = {
    "RNN": rnn(),
    "RNN, direction reverse": rnn(direction="reverse"),
    "RNN, clip 0.4": rnn(clip=0.4),
    "RNN, activation Relu": rnn(activations=["Relu"]),
    "Swish": ("Swish", row, [], 24, {}),
    "Swish, alpha 1.7": ("Swish", row, [], 24, {"alpha": 1.7}),
    "Celu": ("Celu", row, [], 12, {}),
    "Celu, alpha 0.3": ("Celu", row, [], 12, {"alpha": 0.3}),
    "Pad": ("Pad", image, pads, 18, {}),
    "Pad, reflect": ("Pad", image, pads, 18, {"mode": "reflect"}),
    "Pad, edge": ("Pad", image, pads, 18, {"mode": "edge"}),
}
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, flush=True)
onnxruntime.set_default_logger_severity(4)
for number, (name, (op, x, others, opset, attributes)) in enumerate(CASES.items()):
    constants = [numpy_helper.from_array(np.asarray(value), f"c{k}") for k, value in enumerate(others)]
    node = helper.make_node(op, ["x", *(constant.name for constant in constants)], ["y"], **attributes)
    info = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    graph = helper.make_graph([node], "g", [info("x", x.shape)], [info("y", None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    if sys.argv[1] == "write":
        onnx.save(model, f"{number}.onnx")
        x.tofile(f"{number}.x")
        continue
    if op == "Swish":
        expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    else:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = session.run(None, {"x": x})[0]
    found = np.fromfile(f"{number}.y", "f4")
    same = np.allclose(found, expected.ravel(), atol=1e-5)
    print(f"{name}: tract {found[:4].round(3)} expected {expected.ravel()[:4].round(3)} {'same' if same else 'DIFFERENT'}")
    assert same != bool(set(attributes) - {"hidden_size"}), "tract has changed"
PY
mkdir -p src
cat > Cargo.toml <<'TOML'
[package]
name = "seen"
version = "0.0.0"
edition = "2024"
[dependencies]
tract-onnx = "=0.23.9"
[workspace]
TOML
cat > src/main.rs <<'RS'
use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    for number in 0..11 {
        let model = tract_onnx::onnx().model_for_path(format!("{number}.onnx"))?;
        let shape: Vec<usize> = model.input_fact(0)?.shape.as_concrete_finite()?.unwrap().to_vec();
        let bytes = std::fs::read(format!("{number}.x"))?;
        let values: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let result = model.into_optimized()?.into_runnable()?.run(tvec!(Tensor::from_shape(&shape, &values)?.into()))?;
        let result = result[0].cast_to::<f32>()?.into_owned();
        let bytes: Vec<u8> = result.try_as_plain_ram()?.as_slice::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(format!("{number}.y"), bytes)?;
    }
    Ok(())
}
RS
"$folder/venv/bin/python" models.py write
cargo build --quiet
grep -A1 '^name = "tract-onnx"' Cargo.lock
cargo run --quiet
"$folder/venv/bin/python" models.py compare
