"""Every kind of data trains the same parameters."""

import dpc
import numpy as np
import pandas
import polars
import torch
from torch.utils.data import TensorDataset

PLAN = dict(noise_multiplier=1.0, delta=1e-4, batch_size=64, steps=4, seed=5, device="cpu", progress=False)


def frames(make):
    def of(x, y):
        return make({**{f"x{k}": x[:, k] for k in range(x.shape[1])}, "label": y})

    return of


def saved(x, y, place):
    np.savez(place / "data.npz", input=x, label=y)
    return place / "data.npz"


class Capsule:
    """An array that only DLPack reads."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


KINDS = {
    "dlpack": lambda x, y, _: (Capsule(x), Capsule(torch.from_numpy(y))),
    "torch": lambda x, y, _: (torch.from_numpy(x), torch.from_numpy(y)),
    "dict": lambda x, y, _: {"input": x, "label": y},
    "dataset": lambda x, y, _: TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
    "items": lambda x, y, _: [{"input": a, "label": b} for a, b in zip(x, y)],
    "pandas": lambda x, y, _: frames(pandas.DataFrame)(x, y),
    "polars": lambda x, y, _: frames(polars.DataFrame)(x, y),
    "file": saved,
    "text": lambda x, y, place: str(saved(x, y, place)),
    "fortran": lambda x, y, _: (np.asfortranarray(x), y.astype(np.int32)),
}


def test_kinds_agree(mlp, data, tmp_path):
    from dpc._export import exported

    # Exporting takes seconds, so it is done once.
    model = exported(mlp, torch.zeros(2, 6))

    def trained(data):
        return dpc.make_private(model).fit(data, lr=0.1, **PLAN).parameters()

    expected = trained(data)
    for kind, of in KINDS.items():
        for name, value in trained(of(*data, tmp_path)).items():
            assert np.array_equal(value, expected[name]), (kind, name)
