"""Data of every kind as arrays by name: dtype, shape, and bytes in C order."""

import os

from ._errors import DataError


def given(data, schema, workers=1, cache=None):
    """What the library takes: a text of the command line's `--data`, or the arrays of `data` by their names.

    `workers` and `cache` are for data sets that are read item by item.
    """
    inputs = [entry["name"] for entry in schema["inputs"]]
    targets = [entry["name"] for entry in schema["targets"]]
    # Of a torch DataLoader what it loads: a step draws its own batch.
    if hasattr(data, "dataset") and hasattr(data, "batch_sampler"):
        data = data.dataset
    if (type(data).__module__, type(data).__name__) == ("torch.utils.data.dataset", "TensorDataset"):
        data = (data.tensors[:len(inputs)], data.tensors[len(inputs):])
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    if not pair and not isinstance(data, (str, os.PathLike, dict)) and not hasattr(data, "columns"):
        if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
            raise DataError(
                f"data are of the type {type(data).__name__}, which dpc does not read", "dpc::python::data",
                "give a pair (x, y) of arrays, a dict of arrays, a data frame, a torch Dataset of pairs, or a file's path")
        from ._items import read

        data = read(data, schema, workers, cache)
    elif cache is not None:
        raise DataError("a cache is for data sets that are read item by item", "dpc::python::cache", "leave out cache=")
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data)
    if isinstance(data, dict):
        arrays = data
    elif pair:
        arrays = {**named(data[0], inputs, "input"), **named(data[1], targets, "label")}
    else:
        arrays = _frame(data, schema)
    return {name: packed(name, array) for name, array in arrays.items()}


def of_numpy(array):
    """An array of torch, or of whatever NumPy reads, as one of NumPy; not copied where that can be."""
    import numpy as np

    if hasattr(array, "detach"):
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            array = array.float()
        return array.numpy()
    if hasattr(array, "__dlpack__") and not hasattr(array, "__array__"):
        return np.from_dlpack(array)
    return np.asarray(array)


def packed(name, array):
    """An array as the library takes it."""
    import numpy as np

    array = of_numpy(array)
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
    several = isinstance(values, tuple) and len(values) == len(names) or isinstance(values, (tuple, list)) and len(names) > 1
    values = list(values) if several else [values]
    if len(values) != len(names):
        raise DataError(
            f"the data have {len(values)} {what}s, but the model takes {len(names)}: {', '.join(names) or 'none'}",
            "dpc::python::data")
    return dict(zip(names, values))


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
