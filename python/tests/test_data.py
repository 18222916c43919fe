"""Every kind of data trains the same parameters."""

import dpc
import numpy as np
import pandas
import polars
import pytest
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


KINDS = {
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


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_agree(kind, mlp, data, tmp_path):
    def trained(data):
        private = dpc.make_private(mlp, example=torch.zeros(2, 6))
        return {name: value.copy() for name, value in private.fit(data, **PLAN).parameters().items()}

    import copy

    mlp, begun = mlp, copy.deepcopy(mlp.state_dict())
    expected = trained(data)
    mlp.load_state_dict(begun)
    found = trained(KINDS[kind](*data, tmp_path))
    for name, value in expected.items():
        assert np.array_equal(value, found[name]), name
