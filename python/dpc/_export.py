"""PyTorch modules as ONNX files, in the form that dpc reads most from."""

import contextlib
import inspect
import logging
import os
import re
import tempfile
import warnings

from ._errors import CompileError


def exported(module, example):
    """The bytes of the module's ONNX file. The module is left as it was."""
    import torch

    if not isinstance(example, (tuple, list)):
        example = (example,)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    arguments = tuple(_two_records(torch.as_tensor(value).to(device)) for value in example)
    batch = torch.export.Dim("batch", min=1, max=65536)
    modes = {part: part.training for part in module.modules()}
    with tempfile.TemporaryDirectory() as place, _quiet():
        path = os.path.join(place, "model.onnx")
        try:
            if not module.training:
                module.train()
            torch.onnx.export(
                module, arguments, path, dynamo=True, optimize=False, verbose=False, external_data=False,
                input_names=_names(module, len(arguments)), dynamic_shapes=tuple({0: batch} for _ in arguments))
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise CompileError(
                f"PyTorch cannot export the module: {reason[0]}", "dpc::python::export",
                "the forward pass must be one that torch.export traces, with the records on axis 0 of each input") from error
        finally:
            for part, mode in modes.items():
                part.training = mode
        with open(path, "rb") as file:
            return file.read()


def _two_records(value):
    """The example with two records: one would be taken for a constant."""
    import torch

    if value.dim() == 0 or value.shape[0] == 0:
        raise CompileError("an example has no records: its axis 0 is the batch", "dpc::python::example")
    return torch.cat([value, value])[:2] if value.shape[0] == 1 else value


def _names(module, count):
    """What the inputs are called: as the parameters of `forward`."""
    names = []
    for name, parameter in inspect.signature(module.forward).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(name)
    return names[:count] if len(names) >= count else [f"input{k}" for k in range(count)]


@contextlib.contextmanager
def _quiet():
    """Without what the exporter has to say, of which nothing is to be done here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def with_layers(error, model):
    """The error with the module's layers in which it says nodes or parameters to be."""
    try:
        import onnx

        nodes = onnx.load_from_string(model).graph.node
    except Exception:
        return error
    mentioned = set(re.findall(r"`([^`]+)`", error.message))
    layers = []
    for node in nodes:
        if not mentioned & {node.name, *node.output}:
            continue
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
        path = [scope for scope in re.findall(r"'([^']*)'", scopes)[:-1] if scope]
        if path and path[-1] not in layers:
            layers.append(path[-1])
    if layers:
        error = CompileError(f"{error.message}\n  in the module: {', '.join(layers)}", error.code, error.help)
    error.layers = layers
    return error
