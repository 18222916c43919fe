"""The four networks of the Opacus paper: from Python they are trained to the bits of the command line."""

import sys

import dpc
import numpy as np
import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "models"))
from paper_nets import PAPER  # noqa: E402


@pytest.mark.parametrize("name", ["mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"])
def test_parameters_are_those_of_the_command_line(name, command, tmp_path):
    net, inputs, label = PAPER[name].make()
    private = dpc.make_private(net, example=tuple(inputs.values()), clip=0.7, optimizer=dpc.SGD(lr=0.05, momentum=0.9))
    private.save(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", **{name: value.numpy() for name, value in inputs.items()}, label=label.numpy())
    command("compile", tmp_path / "net.onnx", "-o", tmp_path / "net.dpc", "--loss", "cross-entropy", "--clip", "flat:0.7",
            "--optimizer", "sgd:momentum=0.9")
    command("train", tmp_path / "net.dpc", "--data", tmp_path / "data.npz", "--noise-multiplier", 0.8, "--delta", 0.01,
            "--batch", 3, "--steps", 2, "--lr", 0.05, "--insecure-seed", 7, "--device", "cpu", "--out", tmp_path / "net.run")
    [x] = inputs.values()
    private.fit((x, label), noise_multiplier=0.8, delta=0.01, batch_size=3, steps=2, seed=7, device="cpu", progress=False)
    expected, found = dpc.load(tmp_path / "net.run"), private.parameters()
    assert expected.parameters().keys() == found.keys() == dict(net.named_parameters()).keys()
    for name, value in expected.parameters().items():
        assert np.array_equal(value.view(np.uint32), found[name].view(np.uint32)), name
        assert np.array_equal(value, net.state_dict()[name].numpy()), name
    assert expected.certificate()["history"] == private.certificate()["history"]
