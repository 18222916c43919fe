"""Data sets that are read item by item: by threads, into memory or into a cache file."""

import os
import signal
import threading
import time

import dpc
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

PLAN = dict(noise_multiplier=1.0, delta=1e-4, batch_size=16, steps=3, seed=5, device="cpu", progress=False, lr=0.1)


class Items(Dataset):
    """The records of `data`, with what is to happen at some of them."""

    def __init__(self, data, at=None, seconds=0.0):
        self.x, self.y = data[0][:60], data[1][:60]
        self.at, self.seconds, self.asked = at or {}, seconds, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.asked.append(index)
        time.sleep(self.seconds)
        return self.at.get(index, lambda x, y: (x, y))(torch.from_numpy(self.x[index]), int(self.y[index]))


@pytest.fixture(scope="module")
def model():
    from dpc._export import exported

    torch.manual_seed(4)
    return exported(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), torch.zeros(2, 6))


def parameters(model, data, **options):
    return dpc.make_private(model).fit(data, **PLAN, **options).parameters()


def same(found, expected):
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


def test_all_ways_to_read_agree(model, data, tmp_path):
    expected = parameters(model, (data[0][:60], data[1][:60]))
    items = Items(data)
    same(parameters(model, items), expected)
    assert sorted(items.asked) == list(range(60)) and items.asked == sorted(items.asked)
    same(parameters(model, Items(data), workers=3), expected)
    same(parameters(model, DataLoader(Items(data), batch_size=4, shuffle=True)), expected)
    same(parameters(model, Items(data), cache=tmp_path / "items", workers=2), expected)
    # Doubles are what the model takes them as.
    doubles = {index: lambda x, y: (x.double(), y) for index in range(60)}
    same(parameters(model, Items(data, doubles)), expected)


def test_a_cache_is_used_again(model, data, tmp_path):
    cache = tmp_path / "items.safetensors"
    expected = parameters(model, Items(data), cache=cache)
    assert os.listdir(tmp_path) == [cache.name]
    if os.name == "posix":
        assert cache.stat().st_mode & 0o777 == 0o600
    again = Items(data)
    same(parameters(model, again, cache=cache), expected)
    assert sorted(set(again.asked)) == [0, 30, 59]
    other = (data[0] + 1, data[1])
    for wrong in [Items(other), Items((data[0][:50], data[1])), Items(data, {30: lambda x, y: (x, y + 1)})]:
        with pytest.raises(dpc.DataError, match="other items"):
            parameters(model, wrong, cache=cache)
    cache.write_bytes(cache.read_bytes()[:-1])
    with pytest.raises(dpc.DataError, match="other items"):
        parameters(model, Items(data), cache=cache)


def test_no_part_of_a_cache_is_left(model, data, tmp_path):
    def gone(*_):
        raise OSError("the disk is gone")

    with pytest.raises(dpc.DataError, match="item 17.*the disk is gone"):
        parameters(model, Items(data, {17: gone}), cache=tmp_path / "items")
    assert os.listdir(tmp_path) == []
    with pytest.raises(dpc.DataError, match="cannot be written"):
        parameters(model, Items(data), cache=tmp_path / "none" / "items")
    with pytest.raises(dpc.DataError, match="item by item"):
        parameters(model, data, cache=tmp_path / "items")


WRONG = {
    "shape": (lambda x, y: (x[:5], y), r"item 23 has the shape \[5\], but that of item 0 \[6\]"),
    "dtype": (lambda x, y: (x, y + 0.5), "item 23 has the dtype float64"),
    "kind": (lambda x, y: (x, "a label"), "item 23 has the dtype .*, which is none of numbers"),
    "pair": (lambda x, y: x, "item 23 of the data is no pair"),
    "names": (lambda x, y: {"input": x}, "item 23 of the data has input, but item 0 input, label"),
    "exit": (lambda x, y: exit(3), None),
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("kind", WRONG)
def test_items_that_do_not_fit(model, data, kind, workers):
    at, said = WRONG[kind]
    private = dpc.make_private(model)
    with pytest.raises(dpc.DataError if said else SystemExit, match=said):
        private.fit(Items(data, {23: at}), workers=workers, **PLAN)
    assert private.certificate() is None and private.epsilon(1e-4) == 0.0
    # Another try is as good as the first.
    assert private.fit(Items(data), workers=workers, **PLAN).certificate()["steps"] == 3


def test_workers_read_at_the_same_time(model, data):
    took = []
    for workers in (1, 6):
        begun = time.monotonic()
        parameters(model, Items(data, seconds=0.01), workers=workers)
        took.append(time.monotonic() - begun)
    assert took[1] < took[0] - 0.3, took


@pytest.mark.parametrize("workers", [1, 4])
def test_an_interrupt_while_items_are_read(model, data, tmp_path, workers):
    """Also where an item never comes."""
    never = threading.Event()
    items = Items(data, {20: lambda x, y: never.wait(60) and None})
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    private = dpc.make_private(model)
    threading.Timer(0.3, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        private.fit(items, workers=workers, cache=tmp_path / "items", **PLAN)
    assert time.monotonic() - sent[0] < 1 and os.listdir(tmp_path) == []
    never.set()
    assert private.epsilon(1e-4) == 0.0


def test_labels_are_checked_before_anything_is_spent(model, data, tmp_path):
    private = dpc.make_private(model)
    for cache in (None, tmp_path / "items"):
        with pytest.raises(dpc.DataError, match="41"):
            private.fit(Items(data, {41: lambda x, y: (x, 7)}), cache=cache, **PLAN)
        assert private.certificate() is None
