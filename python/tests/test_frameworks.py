"""Models of Keras 3 and Flax train by the same two lines, and get their weights back; where these are installed."""

import os

import dpc
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
PLAN = dict(noise_multiplier=1.0, delta=1e-4, batch_size=64, steps=3, seed=5, device="cpu", progress=False)


def batch():
    random = np.random.default_rng(1)
    return random.normal(size=(96, 8, 8, 1)).astype(np.float32), random.integers(0, 10, 96)


def check(net, weights, outputs):
    """Trains `net`: its weights move, and its outputs are those of what was trained."""
    x, y = batch()
    before = weights()
    private = dpc.make_private(net, example=(x[:2],), clip=1.0, optimizer=dpc.SGD(lr=0.5))
    assert private.parameters().keys() == before.keys()
    np.testing.assert_allclose(private.predict(x, device="cpu"), outputs(x), atol=1e-5)
    assert all(np.array_equal(value, before[name]) for name, value in weights().items())
    private.fit((x, y), **PLAN)
    assert all(not np.array_equal(value, before[name]) for name, value in weights().items())
    np.testing.assert_allclose(private.predict(x, device="cpu"), outputs(x), atol=1e-5)
    assert private.certificate()["steps"] == 3
    with pytest.raises(dpc.CompileError, match="make_private"):
        dpc.load("none.dpc", net)


def test_keras():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    layers = keras.layers
    net = keras.Sequential([
        layers.Conv2D(4, 3, activation="tanh"), layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(8, activation="relu"),
        layers.Dense(10)])
    net(np.zeros((1, 8, 8, 1), np.float32))
    weights = lambda: {variable.path: keras.ops.convert_to_numpy(variable.value).copy() for variable in net.trainable_variables}
    check(net, weights, lambda x: keras.ops.convert_to_numpy(net(x)))


def test_keras_in_training_mode():
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(10)])
    with pytest.raises(dpc.CompileError, match="batch"):
        dpc.make_private(net, example=(batch()[0][:2],))


def test_flax():
    nnx = pytest.importorskip("flax.nnx")
    pytest.importorskip("jax2onnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 4, (3, 3), padding="VALID", rngs=rngs)
            self.out = nnx.Linear(36, 10, rngs=rngs)

        def __call__(self, x):
            x = nnx.max_pool(nnx.tanh(self.conv(x)), window_shape=(2, 2), strides=(2, 2))
            return self.out(x.reshape(x.shape[0], -1))

    net = Net(nnx.Rngs(0))
    state = lambda: nnx.to_flat_state(nnx.state(net, nnx.Param))
    weights = lambda: {".".join(path): np.array(variable[...]) for path, variable in state()}
    check(net, weights, lambda x: np.asarray(net(x)))
