"""Models of Keras 3 and of Flax (nnx) as ONNX files.

Their exporters give weights other names, and sometimes another order of axes. So a file is exported while every element of every
weight has a value of its own; by these it is known which weight an initializer is, and where each element of it belongs.
"""

import sys

from ._errors import CompileError

#: The bits of 1.0, from which on the marks count.
_FIRST = 0x3F800000


def adapted(module):
    """What stands for a model of Keras or Flax; None for any other."""
    keras, nnx = sys.modules.get("keras"), sys.modules.get("flax.nnx")
    if keras is not None and isinstance(module, keras.Model):
        return _Keras(module, keras)
    if nnx is not None and isinstance(module, nnx.Module):
        return _Nnx(module, nnx)
    return None


class _Marked:
    """A model with weights by name, all of f32, that can be read, set and exported."""

    def exported(self, example, outputs):
        """The bytes of the ONNX file, with the weights under their own names; these names, and those of what is no weight."""
        import numpy as np
        import onnx

        if not isinstance(example, (tuple, list)):
            example = (example,)
        self.build(example)
        values = self.values()
        self._places, marks, first = {}, {}, 0
        for name, value in values.items():
            if value.dtype != np.float32:
                raise CompileError(f"the weight `{name}` is of {value.dtype}, and not float32", "dpc::python::weights")
            bits = np.arange(_FIRST + first, _FIRST + first + value.size, dtype=np.uint32)
            marks[name] = bits.view(np.float32).reshape(value.shape)
            first += value.size
        self.assign(marks)
        try:
            model = onnx.load_from_string(self.file(example, outputs))
        finally:
            self.assign(values)
        names = list(values)
        starts = np.cumsum([0] + [value.size for value in values.values()])
        renamed, others = {}, []
        for tensor in model.graph.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            there = onnx.numpy_helper.to_array(tensor)
            at = there.reshape(-1).view(np.uint32).astype(np.int64) - _FIRST
            of = int(np.searchsorted(starts, at[0], "right")) - 1 if at.size and 0 <= at[0] < first else None
            if of is None or not np.array_equal(np.sort(at), np.arange(starts[of], starts[of + 1])):
                others.append(tensor.name)
                continue
            name, places = names[of], at - starts[of]
            renamed[tensor.name] = name
            self._places[name] = places
            actual = values[name].reshape(-1)[places].reshape(there.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(actual, name))
        missing = [name for name in names if name not in self._places]
        if missing:
            raise CompileError(
                f"these weights are not in the exported file: {', '.join(missing)}", "dpc::python::weights",
                "what the exporter folds into other numbers, or leaves out, cannot be trained; make it not trainable")
        for node in model.graph.node:
            for k, name in enumerate(node.input):
                node.input[k] = renamed.get(name, name)
        return model.SerializeToString(), names, others

    def write_back(self, trained):
        """Puts trained values, in the file's order of axes, into the model."""
        import numpy as np

        values = self.values()
        for name, value in trained.items():
            new = np.empty(values[name].size, np.float32)
            new[self._places[name]] = value.reshape(-1)
            values[name] = new.reshape(values[name].shape)
        self.assign(values)


class _Keras(_Marked):
    """Keras on PyTorch, by PyTorch's exporter: with dropout, and in training mode as `Model.fit` has it."""

    def __init__(self, model, keras):
        if keras.backend.backend() != "torch":
            raise CompileError(
                f"Keras runs on {keras.backend.backend()}, of which dpc reads no models", "dpc::python::keras",
                'set KERAS_BACKEND=torch before Keras is imported, or give the path of an ONNX file')
        self._model = model

    def build(self, example):
        """Calls the model, since Keras makes weights when that is done first."""
        import torch

        mixing = [layer for layer in self._model._flatten_layers() if type(layer).__name__ == "BatchNormalization"]
        if mixing:
            names = ", ".join(f"`{layer.path}`" for layer in mixing)
            error = CompileError(
                f"the result for one record would depend on other records: {names} normalise over the batch", "dpc::prove::refused",
                "put GroupNormalization or LayerNormalization in their place")
            error.layers = [layer.path for layer in mixing]
            raise error
        few = [torch.as_tensor(value)[:2] for value in example]
        with torch.no_grad():
            self._model(few[0] if len(few) == 1 else few)

    def values(self):
        from ._data import of_numpy

        return {variable.path: of_numpy(variable.value).copy() for variable in self._model.trainable_variables}

    def assign(self, values):
        for variable in self._model.trainable_variables:
            variable.assign(values[variable.path])

    def file(self, example, outputs):
        import torch

        from ._export import exported

        model = self._model

        class Training(torch.nn.Module):
            def forward(self, *inputs):
                return model(inputs[0] if len(inputs) == 1 else list(inputs), training=True)

        return exported(Training(), example, outputs)


class _Nnx(_Marked):
    """Flax's nnx, by jax2onnx."""

    def __init__(self, model, nnx):
        self._model, self._nnx = model, nnx

    def build(self, _):
        """Nothing: nnx makes weights at once."""

    def _state(self):
        return self._nnx.to_flat_state(self._nnx.state(self._model, self._nnx.Param))

    def values(self):
        import numpy as np

        return {".".join(map(str, path)): np.array(variable[...]) for path, variable in self._state()}

    def assign(self, values):
        nnx = self._nnx
        state = nnx.state(self._model, nnx.Param)
        flat = [(path, variable.replace(values[".".join(map(str, path))])) for path, variable in nnx.to_flat_state(state)]
        nnx.update(self._model, nnx.from_flat_state(flat))

    def file(self, example, outputs):
        import numpy as np

        try:
            from jax2onnx import to_onnx
        except ImportError:
            raise CompileError("models of Flax are exported by jax2onnx, which is not installed", "dpc::python::jax2onnx",
                               "pip install jax2onnx") from None
        from ._export import quiet

        shapes = [("B", *np.shape(value)[1:]) for value in example]
        try:
            with quiet():
                return to_onnx(self._model, shapes).SerializeToString()
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CompileError(f"jax2onnx cannot export the model: {reason}", "dpc::python::export") from error
