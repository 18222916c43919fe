"""The two PyTorch export recipes that keep every parameter as an initializer of its own.

`ts`   the legacy tracer with `training=TRAINING, do_constant_folding=False`;
`dyn`  the `torch.export` exporter with `optimize=False` on a model in training mode.

Both give each `named_parameters` entry its own initializer under the same name. The default settings of either
exporter do not: they merge equal initializers, untie shared ones and fold transposes through them.
"""

import contextlib
import io
import logging
import warnings

import onnx
import torch

RECIPES = ("ts", "dyn")
OPSET = 20
LEGACY_SETTINGS = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}


def export(recipe, net, inputs, path, opset=OPSET, edit=None, external=False, outputs=("logits",), defaults=False,
           training=None, forget=True):
    """Writes `net` to `path`; `inputs` maps input names to example tensors whose axis 0 is the batch.

    `edit` is applied to the exported `ModelProto`; `external` puts the tensors in a file beside it; `defaults` exports
    with the exporter's default settings in place of the recipe; `training` is the mode that the net is put into, by default
    that of the recipe; `forget` leaves out what changes from machine to machine.
    """
    net.train(not defaults if training is None else training)
    buffer = io.BytesIO()
    quiet = io.StringIO()
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        if recipe == "ts":
            _legacy(net, inputs, outputs, buffer, opset, {} if defaults else LEGACY_SETTINGS)
            model = onnx.load_from_string(buffer.getvalue())
        else:
            model = _dynamo(net, inputs, outputs, opset, optimize=defaults)
    logging.disable(logging.NOTSET)
    if forget:
        _forget_machine(model)
    if edit is not None:
        edit(model)
    onnx.checker.check_model(model)
    if external:
        path.with_name(path.name + ".data").unlink(missing_ok=True)  # onnx.save appends
        onnx.save(model, path, save_as_external_data=True, location=path.name + ".data", size_threshold=0)
    else:
        onnx.save(model, path)


def _legacy(net, inputs, outputs, buffer, opset, settings):
    torch.onnx.export(
        net,
        tuple(inputs.values()),
        buffer,
        dynamo=False,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes={name: {0: "batch"} for name in [*inputs, *outputs]},
        opset_version=opset,
        **settings,
    )


def _dynamo(net, inputs, outputs, opset, optimize):
    batch = torch.export.Dim("batch", min=1, max=65536)
    program = torch.onnx.export(
        net,
        tuple(inputs.values()),
        dynamo=True,
        optimize=optimize,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=tuple({0: batch} for _ in inputs),
        opset_version=opset,
        verbose=False,
    )
    return program.model_proto


def _forget_machine(model):
    """Removes stack traces, which hold the exporting machine's paths, and the exporter's own graph listing."""
    for node in [*model.graph.node, *(n for f in model.functions for n in f.node)]:
        node.doc_string = ""
        kept = [p for p in node.metadata_props if not p.key.endswith(("stack_trace", "fx_node"))]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def prune(model):
    """Removes nodes and initializers from which no graph output can be reached."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    initializers = [t for t in graph.initializer if t.name in needed]
    for field, values in ((graph.node, kept[::-1]), (graph.initializer, initializers)):
        del field[:]
        field.extend(values)
