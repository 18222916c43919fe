"""PyTorch modules as ONNX files, in the form that dpc reads most from."""

import contextlib
import inspect
import logging
import os
import re
import sysconfig
import tempfile
import traceback
import warnings

from ._errors import CompileError


def exported(module, example, outputs=()):
    """The bytes of the module's ONNX file, with names for its first outputs. The module is left as it was."""
    import torch

    if not isinstance(example, (tuple, list)):
        example = (example,)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    arguments = tuple(_two_records(torch.as_tensor(value).to(device)) for value in example)
    shapes = _free_batch(module, len(arguments), torch.export.Dim("batch", min=1, max=65536))
    modes = {part: part.training for part in module.modules()}
    with tempfile.TemporaryDirectory() as place, quiet():
        path = os.path.join(place, "model.onnx")
        try:
            if not module.training:
                module.train()
            torch.onnx.export(
                module, arguments, path, dynamo=True, optimize=False, verbose=False, external_data=False,
                input_names=_names(module, len(arguments)), output_names=list(outputs) or None,
                dynamic_shapes=shapes)
        except Exception as error:
            raise _refused(module, arguments, shapes, error) from error
        finally:
            for part, mode in modes.items():
                part.training = mode
        with open(path, "rb") as file:
            return file.read()


def _refused(module, arguments, shapes, error):
    """The exception for a module that PyTorch does not export: the reason, and the layer and the line that it is in."""
    import torch

    layers, place, cause, under_way = [], "", error, []
    hooks = []
    for name, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: under_way.append(name)))
        hooks.append(part.register_forward_hook(lambda *_: under_way.pop() and None))
    try:
        # Once more, to see how far it comes.
        torch.export.export(module, arguments, dynamic_shapes=shapes, strict=False)
    except Exception as again:
        cause = again
        layers = [name for name in under_way[-1:] if name]
        own = [frame for frame in traceback.extract_tb(again.__traceback__) if not _of_a_package(frame.filename)]
        if own:
            place = f"\n  at {own[-1].filename}, line {own[-1].lineno}: {own[-1].line}"
    finally:
        for hook in hooks:
            hook.remove()
    while cause is error and error.__cause__ is not None:
        cause = error = error.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    within = f"\n  in the module: {layers[0]}" if layers else ""
    help = "the forward pass must be one that torch.export traces, with the records on axis 0 of each input"
    if "data-dependent" in lines[0]:
        help = "the forward pass must not depend on the values of tensors other than by torch.where and the like: " + help
    refused = CompileError(f"PyTorch cannot export the module: {lines[0]}{within}{place}", "dpc::python::export", help)
    refused.layers = layers
    return refused


def _of_a_package(file):
    """Whether a file is none of the user's: of Python, of a package that is installed, or of dpc."""
    paths = sysconfig.get_paths()
    return file.startswith((paths["stdlib"], paths["platstdlib"], paths["purelib"], os.path.dirname(__file__), "<"))


def _two_records(value):
    """The example with two records: one would be taken for a constant."""
    import torch

    if value.dim() == 0 or value.shape[0] == 0:
        raise CompileError("an example has no records: its axis 0 is the batch", "dpc::python::example")
    return torch.cat([value, value])[:2] if value.shape[0] == 1 else value


def _positional(module):
    """The parameters of `forward` that have a place."""
    parameters = inspect.signature(module.forward).parameters.items()
    return [name for name, one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def _names(module, count):
    """What the inputs are called: as the parameters of `forward`."""
    names = _positional(module)
    return names[:count] if len(names) >= count else [f"input{k}" for k in range(count)]


def _free_batch(module, count, batch):
    """That axis 0 of each input is the batch, in the form of the arguments: those of `*args` are a tuple of their own."""
    each, own = [{0: batch}] * count, len(_positional(module))
    return tuple(each) if own >= count else (*each[:own], tuple(each[own:]))


@contextlib.contextmanager
def quiet():
    """Without what the exporter has to say, of which nothing is to be done here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
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
    paths = {}
    for node in nodes:
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
        path = [scope for scope in re.findall(r"'([^']*)'", scopes)[:-1] if scope]
        paths.update(dict.fromkeys([node.name, *node.output], path[-1]) if path else {})
    layers = []

    def placed(found):
        path = paths.get(found.group(1))
        if path is None:
            return found.group(0)
        if path not in layers:
            layers.append(path)
        return f"{found.group(0)} of the layer `{path}`"

    # What is refused is a node; what else is named are the values that it reads.
    message = re.sub(r"node `([^`]+)`(?: \(\w+\))?", placed, error.message)
    if not layers:
        re.sub(r"`([^`]+)`", placed, error.message)
        message = error.message + (f"\n  in the module: {', '.join(layers)}" if layers else "")
    if layers:
        error = CompileError(message, error.code, error.help)
    error.layers = layers
    return error
