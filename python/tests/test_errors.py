"""Errors say what, where, and what to do."""

import copy
import subprocess
import sys

import dpc
import numpy as np
import pytest
import torch
from torch import nn

PLAN = dict(noise_multiplier=1.0, delta=1e-4, batch_size=64, steps=2, seed=5, device="cpu", progress=False)


def test_a_refused_layer_is_named():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))

        def forward(self, x):
            return self.body(x)

    with pytest.raises(dpc.CompileError) as raised:
        dpc.make_private(Mixing(), example=(torch.zeros(2, 6),))
    assert raised.value.code.startswith("dpc::") and raised.value.help
    assert "body.1" in raised.value.layers and "body.1" in str(raised.value)


def test_options_of_compiling(mlp):
    for options, said in [(dict(loss="crossentropy"), "loss"), (dict(clip="flat"), "clip"), (dict(noise="none"), "noise")]:
        with pytest.raises(dpc.CompileError, match=said) as raised:
            dpc.make_private(mlp, example=(torch.zeros(2, 6),), **options)
        assert raised.value.code.startswith("dpc::")
    with pytest.raises(dpc.CompileError, match="example"):
        dpc.make_private(mlp)
    with pytest.raises(dpc.CompileError, match="no model that dpc reads"):
        dpc.make_private(lambda x: x, example=(torch.zeros(2, 6),))
    with pytest.raises(dpc.CompileError, match="too many positional arguments") as raised:
        dpc.make_private(mlp, example=(torch.zeros(2, 6), torch.zeros(2, 6)))
    assert "line" not in str(raised.value)
    with pytest.raises(dpc.CompileError, match="none.onnx"):
        dpc.make_private("none.onnx")
    with pytest.raises(dpc.CompileError):
        dpc.make_private(b"no model")


def test_data_that_do_not_fit(mlp, data):
    private = dpc.make_private(mlp, example=(torch.zeros(2, 6),))
    x, y = data
    for wrong in [(x[:, :5], y), (x, y + 3), (x[:7], y), {"input": x}, 7, (x, np.array(["a"] * 400)), [], [x[0]]]:
        with pytest.raises(dpc.DataError) as raised:
            private.fit(wrong, **PLAN)
        assert isinstance(raised.value, dpc.DpcError) and raised.value.code.startswith("dpc::")
    with pytest.raises(dpc.DataError):
        private.predict(x[:, :5])


NO_PLANS = [
    dict(epsilon=3), dict(noise_multiplier=None), dict(delta=None), dict(delta=2.0), dict(batch_size=0), dict(epochs=3),
    dict(batch_size=1000), dict(lr=float("nan")), dict(lr_schedule="up"), dict(augment="8:fly"), dict(resume=True),
    dict(sampling="none"), dict(physical_batch=0), dict(augment="2:flip"), dict(ema=1.0)]


def test_plans_that_are_none(mlp, data):
    private = dpc.make_private(mlp, example=(torch.zeros(2, 6),))
    for options in NO_PLANS:
        with pytest.raises(dpc.PlanError) as raised:
            private.fit(data, **{**PLAN, **options})
        assert raised.value.code.startswith("dpc::") and "--batch" not in str(raised.value), options
        assert private.certificate() is None and private.epsilon(1e-5) == 0.0


def test_another_training_costs_more(mlp, data, tmp_path):
    private = dpc.make_private(mlp, example=(torch.zeros(2, 6),)).fit(data, **PLAN)
    once = private.epsilon(1e-4)
    private.fit(data, **PLAN)
    assert private.epsilon(1e-4) > once and private.certificate()["steps"] == 4
    with pytest.raises(dpc.PlanError, match="already"):
        private.fit(data, **dict(PLAN, noise_multiplier=None, epsilon=once))
    private.save(tmp_path / "net.dpc")
    with pytest.raises(dpc.PlanError, match="step by step"):
        dpc.load(tmp_path / "net.dpc").fit(data, lr=0.1, **PLAN)


def test_devices_and_files(mlp, data, tmp_path):
    private = dpc.make_private(mlp, example=(torch.zeros(2, 6),))
    with pytest.raises(dpc.TrainError):
        private.fit(data, **dict(PLAN, device="abacus"))
    with pytest.raises(dpc.TrainError):
        dpc.load(tmp_path / "none.dpc")


def test_importing_is_quick_and_brings_no_torch():
    script = "import time; a = time.perf_counter(); import dpc, sys; print(time.perf_counter() - a, 'torch' in sys.modules)"
    took = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split() for _ in range(3)]
    assert all(torch == "False" for _, torch in took)
    assert min(float(seconds) for seconds, _ in took) < 0.1


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x  # the line that is named


def test_a_module_that_cannot_be_exported():
    narrow = nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.Tanh(), nn.Linear(5, 3)))
    branching = nn.Sequential(nn.Linear(6, 4), nn.ModuleDict({"gate": Branching()})["gate"])
    for module, layer, said in [(narrow, "1.1", "reduction dim"), (branching, "1", "data-dependent")]:
        training = copy.deepcopy(module)
        with pytest.raises(dpc.CompileError, match=said) as raised:
            dpc.make_private(module, example=(torch.zeros(2, 6),))
        assert raised.value.layers == [layer] and f"in the module: {layer}" in str(raised.value), str(raised.value)
        assert "\x1b" not in str(raised.value) and raised.value.code == "dpc::python::export"
        assert not module[0]._forward_hooks and not module[0]._forward_pre_hooks
        assert [part.training for part in module.modules()] == [part.training for part in training.modules()]
    assert "the line that is named" in str(raised.value) and "torch.where" in raised.value.help
