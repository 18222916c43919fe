"""Data of every kind as arrays by name: dtype, shape, and bytes in C order."""

import os

from ._errors import DataError


def given(data, schema):
    """What the library takes: a text of the command line's `--data`, or the arrays of `data` by their names."""
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data)
    inputs = [entry["name"] for entry in schema["inputs"]]
    targets = [entry["name"] for entry in schema["targets"]]
    if isinstance(data, dict):
        arrays = data
    elif hasattr(data, "columns") and hasattr(data, "__getitem__"):
        arrays = _frame(data, schema)
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        arrays = {**named(data[0], inputs, "input"), **named(data[1], targets, "label")}
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        arrays = _items(data, inputs, targets)
    else:
        raise DataError(
            f"data are of the type {type(data).__name__}, which dpc does not read", "dpc::python::data",
            "give a pair (x, y) of arrays, a dict of arrays, a data frame, a torch Dataset of pairs, or a file's path")
    return {name: packed(name, array) for name, array in arrays.items()}


def packed(name, array):
    """An array as the library takes it."""
    import numpy as np

    if hasattr(array, "detach"):
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            array = array.float()
        array = array.numpy()
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise DataError(f"array `{name}` has the dtype {array.dtype}, which is none of numbers", "dpc::python::data")
    shape = array.shape
    # Nothing is copied where the order of axes and bytes is right.
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return array.dtype.name, list(shape), array


def unpacked(array):
    """An array of the library as one of NumPy."""
    import numpy as np

    dtype, shape, content = array
    return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape).copy()


def named(values, names, what):
    """The arrays of one side of a pair, in the order of the model's."""
    values = dict(values) if isinstance(values, dict) else values
    if isinstance(values, dict):
        return values
    values = list(values) if isinstance(values, (tuple, list)) and len(names) > 1 else [values]
    if len(values) != len(names):
        raise DataError(
            f"the data have {len(values)} {what}s, but the model takes {len(names)}: {', '.join(names) or 'none'}",
            "dpc::python::data")
    return dict(zip(names, values))


def _items(data, inputs, targets):
    """The items of a data set, read one by one: pairs of what the model takes and its label, or dicts."""
    import numpy as np

    if len(data) == 0:
        raise DataError("the data have no record", "dpc::python::data")
    columns = {}
    for index in range(len(data)):
        try:
            item = data[index]
        except Exception as error:
            raise DataError(f"item {index} of the data cannot be read: {error}", "dpc::python::data") from error
        if isinstance(item, dict):
            record = item
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            record = {**named(item[0], inputs, "input"), **named(item[1], targets, "label")}
        elif isinstance(item, (tuple, list)) and len(item) == len(inputs) + len(targets):
            record = dict(zip(inputs + targets, item))
        else:
            raise DataError(
                f"item {index} of the data is no pair of an input and its label", "dpc::python::data",
                f"return {', '.join(inputs + targets)} in this order, or a dict with these names")
        for name, value in record.items():
            value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
            columns.setdefault(name, []).append(value)
    try:
        return {name: np.stack(values) for name, values in columns.items()}
    except ValueError as error:
        raise DataError(f"the items of the data differ in shape: {error}", "dpc::python::data") from None


def _frame(frame, schema):
    """The columns of a pandas or polars frame: those of an array's name, or for the one input all that are left."""
    import numpy as np

    columns = [str(name) for name in frame.columns]
    left = {name: np.asarray(frame[name]) for name in columns}
    arrays = {entry["name"]: left.pop(entry["name"]) for entry in schema["targets"] if entry["name"] in left}
    if "group" in left:
        arrays["group"] = left.pop("group")
    for entry in schema["inputs"]:
        name, dims = entry["name"], entry["dims"]
        own = [column for column in left if column.split(".")[0] == name] or list(left)
        if name in left:
            column = left.pop(name)
            arrays[name] = np.stack(list(column)) if column.dtype == object else column
        elif dims and own:
            values = [left.pop(column) for column in own]
            arrays[name] = np.stack(values, axis=1)
            if arrays[name].shape[1] == int(np.prod(dims)):
                arrays[name] = arrays[name].reshape([-1, *dims])
        if name in arrays and entry["kind"] == {"dtype": "f32"}:
            arrays[name] = arrays[name].astype(np.float32)
    return arrays
