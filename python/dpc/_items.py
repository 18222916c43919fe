"""Data sets of items, such as those of torch: each item is read once, by threads, into memory or into a cache file."""

import json
import logging
import os
import tempfile
import threading
import time

from ._errors import DataError

logger = logging.getLogger("dpc")

#: The names of dtypes in safetensors files.
_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32", "uint64": "U64",
    "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"}


def read(data, schema, workers, cache):
    """The arrays of all items, by name; with `cache`, the path of the file that has them.

    Items are pairs of what the model takes and its label, or dicts. Each is asked for once, by one of `workers` threads, of
    which one at a time runs Python. A cache file is written whole or not at all, and is used again where it fits the data.
    """
    count = len(data)
    if count == 0:
        raise DataError("the data have no record", "dpc::python::data")
    items = _Items(data, schema)
    if cache is not None:
        return _cached(items, count, workers, os.fspath(cache))
    import numpy as np

    columns = {name: np.empty((count, *value.shape), value.dtype) for name, value in items.first.items()}

    def store(index, name, value):
        columns[name][index] = value

    _all(items, count, workers, store)
    return columns


class _Items:
    """Items as arrays by name, all with the shapes and dtypes of the first."""

    def __init__(self, data, schema):
        self._data = data
        self._inputs = [entry["name"] for entry in schema["inputs"]]
        self._targets = [entry["name"] for entry in schema["targets"]]
        self._floats = {entry["name"] for entry in schema["inputs"] if entry["kind"] == {"dtype": "f32"}}
        self.first = None
        self.first = self.read(0)

    def read(self, index):
        try:
            item = self._data[index]
        except Exception as error:
            raise DataError(f"item {index} of the data cannot be read: {error}", "dpc::python::data") from error
        values = {name: self._array(index, name, value) for name, value in self._named(index, item).items()}
        if self.first is not None:
            self._check(index, values)
        return values

    def _named(self, index, item):
        from ._data import named

        inputs, targets = self._inputs, self._targets
        if isinstance(item, dict):
            return item
        if isinstance(item, (tuple, list)) and len(item) == 2:
            return {**named(item[0], inputs, "input"), **named(item[1], targets, "label")}
        if isinstance(item, (tuple, list)) and len(item) == len(inputs) + len(targets):
            return dict(zip(inputs + targets, item))
        raise DataError(
            f"item {index} of the data is no pair of an input and its label", "dpc::python::data",
            f"return {', '.join(inputs + targets)} in this order, or a dict with these names")

    def _array(self, index, name, value):
        import numpy as np

        from ._data import of_numpy

        try:
            value = of_numpy(value)
        except Exception as error:
            raise DataError(f"`{name}` of item {index} is no array: {error}", "dpc::python::data") from error
        if value.dtype.kind not in "biuf":
            raise DataError(f"`{name}` of item {index} has the dtype {value.dtype}, which is none of numbers", "dpc::python::data")
        # What the model takes anyway, in half the memory.
        narrow = value.dtype == np.float64 and name in self._floats
        return value.astype(np.float32) if narrow else value

    def _check(self, index, values):
        import numpy as np

        if values.keys() != self.first.keys():
            raise DataError(
                f"item {index} of the data has {', '.join(values) or 'nothing'}, but item 0 {', '.join(self.first)}",
                "dpc::python::data")
        for name, value in values.items():
            first = self.first[name]
            if value.shape != first.shape:
                raise DataError(
                    f"`{name}` of item {index} has the shape {list(value.shape)}, but that of item 0 {list(first.shape)}",
                    "dpc::python::data", "give all items one shape: pad what is shorter, by what the model does not heed")
            if not np.can_cast(value.dtype, first.dtype, "same_kind"):
                raise DataError(
                    f"`{name}` of item {index} has the dtype {value.dtype}, but that of item 0 {first.dtype}", "dpc::python::data",
                    "give all items one dtype")


def _all(items, count, workers, store):
    """Reads the items, and gives `store` their values; the first has been read."""
    left, lock, failed = iter(range(1, count)), threading.Lock(), []
    done = 1
    for name, value in items.first.items():
        store(0, name, value)

    def work():
        nonlocal done
        while not failed:
            with lock:
                index = next(left, None)
            if index is None:
                return
            try:
                for name, value in items.read(index).items():
                    store(index, name, value)
            except BaseException as error:
                failed.append((index, error))
            with lock:
                done += 1

    # They end with the program, also where an item never comes.
    threads = [threading.Thread(target=work, name="dpc reading", daemon=True) for _ in range(max(1, workers))]
    told = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.05)
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    logger.info("%d of %d items are read", done, count)
    except BaseException as error:
        failed.append((count, error))
        raise
    if failed:
        raise min(failed, key=lambda failure: failure[0])[1]


def _layout(items, count):
    """The header of the file, and where each array begins in it."""
    header, end = {}, 0
    for name, value in sorted(items.first.items()):
        begin, end = end, end + count * value.nbytes
        header[name] = {"dtype": _DTYPES[value.dtype.name], "shape": [count, *value.shape], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return header, len(text).to_bytes(8, "little") + text


def _cached(items, count, workers, path):
    """The cache file, which is written where it is not there."""
    if "," in path:
        raise DataError("the path of a cache file must have no comma", "dpc::python::cache")
    header, head = _layout(items, count)
    if os.path.exists(path):
        _compare(items, count, path, header, head)
        logger.info("the items are those in %s", path)
        return path
    folder, name = os.path.split(os.path.abspath(path))
    try:
        # Nobody but its owner may read it.
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}", "dpc::python::cache") from None
    try:
        with open(descriptor, "wb", buffering=0) as file:
            lock = threading.Lock()

            def store(index, name, value):
                content = value.astype(items.first[name].dtype.newbyteorder("<"), order="C", copy=False).tobytes()
                with lock:
                    file.seek(len(head) + header[name]["data_offsets"][0] + index * len(content))
                    while content:
                        content = content[file.write(content):]

            file.write(head)
            _all(items, count, workers, store)
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}", "dpc::python::cache") from None
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
    logger.info("the items are written to %s, which is used again", path)
    return path


def _compare(items, count, path, header, head):
    """Whether a cache file has these items: as many, of the same shapes, and some of them bit for bit."""
    other = DataError(
        f"{path} has other items than the data", "dpc::python::cache",
        "remove it, or name another file; items that come out differently each time cannot be kept in one")
    size = len(head) + max(entry["data_offsets"][1] for entry in header.values())
    try:
        with open(path, "rb") as file:
            if file.read(len(head)) != head or os.path.getsize(path) != size:
                raise other
            for index in sorted({0, count // 2, count - 1}):
                values = items.first if index == 0 else items.read(index)
                for name, value in values.items():
                    content = value.astype(items.first[name].dtype.newbyteorder("<"), order="C", copy=False).tobytes()
                    file.seek(len(head) + header[name]["data_offsets"][0] + index * len(content))
                    if file.read(len(content)) != content:
                        raise other
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "dpc::python::cache") from None
