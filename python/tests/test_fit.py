"""The two lines, and what they leave behind."""

import copy
import os
import signal
import threading
import time

import dpc
import numpy as np
import pytest
import torch
from torch import nn

STEPS = dict(delta=1e-4, batch_size=64, steps=12, seed=5, device="cpu")
PLAN = dict(STEPS, progress=False)


def private_of(module, data, **options):
    return dpc.make_private(module, example=(torch.from_numpy(data[0][:2]),), **options)


def test_an_mlp_learns(mlp, data):
    private = private_of(mlp, data, optimizer=dpc.SGD(lr=1.0, momentum=0.9))
    before = private.evaluate(data)["accuracy"]
    private.fit(data, epsilon=8, delta=1e-4, batch_size=100, epochs=15, device="cpu")
    scored = private.evaluate(data)
    assert scored["accuracy"] > max(before, 0.75), scored
    with torch.no_grad():
        logits = mlp(torch.from_numpy(data[0])).numpy()
    np.testing.assert_allclose(private.predict(data[0], device="cpu"), logits, atol=1e-4)
    assert abs((logits.argmax(1) == data[1]).mean() - scored["accuracy"]) < 0.01
    certificate = private.certificate()
    assert certificate["guarantee"] and certificate["epsilon"] <= 8 and certificate["steps"] == 60
    assert private.epsilon(1e-4) == pytest.approx(certificate["epsilon"])
    assert private.epsilon(1e-6) > private.epsilon(1e-4)


def test_a_cnn_learns_digits(digits):
    torch.manual_seed(2)
    (x, label), test = digits
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
    private = dpc.make_private(net, example=(torch.from_numpy(x[:1]),), clip=0.1, optimizer=dpc.SGD(lr=11))
    private.fit((x, label), epsilon=3, delta=1e-4, batch_size=256, epochs=12, device="cpu")
    assert private.evaluate(test)["accuracy"] > 0.75


def test_parameters_are_those_of_the_command_line(mlp, data, command, tmp_path):
    from dpc._export import exported

    (tmp_path / "net.onnx").write_bytes(exported(mlp, (torch.zeros(2, 6),)))
    np.savez(tmp_path / "data.npz", input=data[0], label=data[1])
    command("compile", tmp_path / "net.onnx", "-o", tmp_path / "net.dpc", "--loss", "cross-entropy", "--clip", "flat:0.7",
            "--optimizer", "sgd:momentum=0.9")
    command("train", tmp_path / "net.dpc", "--data", tmp_path / "data.npz", "--epsilon", 3, "--delta", 1e-4, "--batch", 64,
            "--steps", 12, "--lr", 0.5, "--insecure-seed", 5, "--device", "cpu", "--out", tmp_path / "net.run")
    expected = dpc.load(tmp_path / "net.run")
    private = private_of(mlp, data, clip=0.7, optimizer=dpc.SGD(lr=0.5, momentum=0.9))
    private.fit(data, epsilon=3, **PLAN)
    for name, value in expected.parameters().items():
        assert np.array_equal(value.view(np.uint32), private.parameters()[name].view(np.uint32)), name
        assert np.array_equal(value, mlp.state_dict()[name].numpy()), name
    assert expected.certificate()["history"] == private.certificate()["history"]


def test_the_module_is_otherwise_untouched(mlp, data):
    mlp[0].bias.requires_grad_(False)
    mlp.eval()
    mlp[1].train()
    before = copy.deepcopy(mlp.state_dict())
    private = private_of(mlp, data)
    assert [part.training for part in mlp.modules()] == [False, False, True, False]
    assert all(torch.equal(value, before[name]) for name, value in mlp.state_dict().items())
    private.fit(data, noise_multiplier=1.0, **PLAN)
    changed = {name for name, value in mlp.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.weight", "2.weight", "2.bias"}
    assert mlp[0].weight.requires_grad and not mlp[0].bias.requires_grad and mlp[0].weight.grad is None


def test_callbacks_see_steps_and_end_the_training(mlp, data):
    steps, epochs = [], []
    private = private_of(mlp, data)
    options = dict(PLAN, steps=20)
    private.fit(data, noise_multiplier=1.0, on_step=lambda step: steps.append(step.number), on_epoch=epochs.append, **options)
    assert steps == list(range(1, 21))
    assert [int(step.epoch + 1e-9) for step in epochs] == [1, 2, 3]
    private = private_of(mlp, data)
    private.fit(data, noise_multiplier=1.0, on_step=lambda step: step.number == 3, **options)
    assert private.certificate()["steps"] == 3


def test_what_was_trained_is_kept_where_a_callback_fails(mlp, data):
    before = mlp[0].weight.clone()
    private = private_of(mlp, data)
    with pytest.raises(ZeroDivisionError):
        private.fit(data, noise_multiplier=1.0, on_step=lambda step: 1 // (2 - step.number) < 0, **PLAN)
    assert private.certificate()["steps"] == 2 and not torch.equal(mlp[0].weight, before)


def test_an_interrupt_ends_the_training_within_a_second(mlp, data):
    private = private_of(mlp, data)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def begun(_):
        if not sent:
            sent.append(time.monotonic())
            threading.Timer(0.5, interrupt).start()

    with pytest.raises(KeyboardInterrupt):
        private.fit(data, noise_multiplier=1.0, on_epoch=begun, **dict(PLAN, steps=10**7))
    assert time.monotonic() - sent[1] < 1
    assert 0 < private.certificate()["steps"] < 10**7


def test_a_run_is_stopped_and_resumed(mlp, data, tmp_path):
    whole = private_of(copy.deepcopy(mlp), data)
    whole.fit(data, epsilon=3, **PLAN)
    part = private_of(mlp, data)
    part.fit(data, epsilon=3, out=tmp_path / "run", on_step=lambda step: step.number == 5, **PLAN)
    assert part.certificate()["steps"] == 5
    part.fit(data, epsilon=3, out=tmp_path / "run", resume=True, **PLAN)
    assert part.certificate()["steps"] == 12
    for name, value in whole.parameters().items():
        assert np.array_equal(value, part.parameters()[name]), name


def test_what_is_saved_is_loaded(mlp, data, tmp_path):
    private = private_of(mlp, data)
    private.fit(data, epsilon=3, **PLAN)
    private.save(tmp_path / "net.dpc")
    module = copy.deepcopy(mlp)
    nn.init.zeros_(module[0].weight)
    loaded = dpc.load(tmp_path / "net.dpc", module)
    assert torch.equal(module[0].weight, mlp[0].weight)
    assert loaded.certificate() == private.certificate()
    private.save(tmp_path / "net.onnx")
    again = dpc.make_private(tmp_path / "net.onnx")
    np.testing.assert_array_equal(again.predict(data[0]), private.predict(data[0]))


def test_augmentation(digits):
    x, label = digits[0][0][:200], digits[0][1][:200]
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    private = dpc.make_private(net, example=(torch.from_numpy(x[:2]),))
    private.fit((x, label), noise_multiplier=1.0, augment="4:flip,shift=1", **dict(PLAN, steps=3))
    assert private.certificate()["views"] == 4


@pytest.mark.parametrize("noise", [
    dict(noise_correlation="banded:4"), dict(noise_correlation="banded:3", sampling="cyclic"),
    dict(noise_correlation="tree", sampling="cyclic:5"), dict(sampling="truncated-poisson:90"),
])
def test_noise_and_sampling_are_those_of_the_command_line(noise, mlp, data, command, tmp_path):
    from dpc._export import exported

    (tmp_path / "net.onnx").write_bytes(exported(mlp, (torch.zeros(2, 6),)))
    np.savez(tmp_path / "data.npz", input=data[0], label=data[1])
    command("compile", tmp_path / "net.onnx", "-o", tmp_path / "net.dpc", "--loss", "cross-entropy", "--clip", "flat:1")
    flags = [word for name, value in noise.items() for word in (f"--{name.replace('_', '-')}", value)]
    command("train", tmp_path / "net.dpc", "--data", tmp_path / "data.npz", "--noise-multiplier", 2, "--delta", 1e-4, "--batch",
            64, "--steps", 12, "--lr", 0.5, "--insecure-seed", 5, "--device", "cpu", "--out", tmp_path / "net.run", *flags)
    expected = dpc.load(tmp_path / "net.run")
    for out in (None, tmp_path / "python.run"):
        private = private_of(copy.deepcopy(mlp), data, optimizer=dpc.SGD(lr=0.5))
        private.fit(data, noise_multiplier=2.0, out=out, **noise, **PLAN)
        for name, value in expected.parameters().items():
            assert np.array_equal(value, private.parameters()[name]), name
        assert private.certificate()["history"] == expected.certificate()["history"]


def test_a_correlation_that_there_is_none_of(mlp, data):
    with pytest.raises(dpc.PlanError, match="noise_correlation: `banded` is no correlation"):
        private_of(mlp, data).fit(data, noise_multiplier=1.0, noise_correlation="banded", **PLAN)
    with pytest.raises(dpc.PlanError, match="cyclic sampling"):
        private_of(mlp, data).fit(data, noise_multiplier=1.0, sampling="cyclic", **PLAN)


def test_initial_values(mlp, data, tmp_path, caplog):
    public = copy.deepcopy(mlp)
    with torch.no_grad():
        public[0].weight.fill_(0.25)
    private_of(public, data).save(tmp_path / "public.safetensors")
    with caplog.at_level("INFO", "dpc"):
        private = private_of(mlp, data, init=tmp_path / "public.safetensors")
    assert "4 of 4 tensors begin with the values" in caplog.text
    for name, value in public.state_dict().items():
        assert np.array_equal(private.parameters()[name], value.numpy()), name
    private.fit(data, epsilon=3, **dict(PLAN, seed=None))
    certificate = private.certificate()
    assert certificate["provenance"]["initial_values"]["file"] == "public.safetensors"
    assert "public.safetensors" in str(certificate["does_not_cover"])
    with pytest.raises(dpc.CompileError):
        private_of(mlp, data, init=tmp_path / "nowhere.safetensors")
    with pytest.raises(dpc.CompileError):
        private_of(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)), data, init=tmp_path / "public.safetensors")


def test_a_loop_of_ones_own(mlp, data):
    whole = private_of(copy.deepcopy(mlp), data)
    whole.fit(data, noise_multiplier=1.0, **PLAN)
    private = private_of(mlp, data)
    begun, spent = mlp[0].weight.clone(), []
    for step in private.steps(data, noise_multiplier=1.0, **STEPS):
        spent.append(private.epsilon(1e-4))
        assert private.certificate()["steps"] == step.number and step.planned == 12
        assert private.evaluate(data)["accuracy"] == private.evaluate(data)["accuracy"]
        # The module gets its parameters at the end.
        assert torch.equal(mlp[0].weight, begun)
    assert spent == sorted(spent) and len(spent) == 12
    for name, value in whole.parameters().items():
        assert np.array_equal(value, private.parameters()[name]), name
        assert np.array_equal(value, mlp.state_dict()[name].numpy()), name


def test_a_loop_that_is_left(mlp, data):
    private = private_of(mlp, data)
    for step in private.steps(data, noise_multiplier=1.0, **STEPS):
        if step.number == 3:
            with pytest.raises(dpc.PlanError, match="under way"):
                private.fit(data, noise_multiplier=1.0, **PLAN)
            break
    assert private.certificate()["steps"] == 3
    # A loop that is never begun costs nothing.
    private.steps(data, noise_multiplier=1.0, **STEPS)
    assert private.fit(data, noise_multiplier=1.0, **PLAN).certificate()["steps"] == 15


def test_moving_averages_in_memory_are_those_of_a_run(mlp, data, tmp_path):
    private = private_of(copy.deepcopy(mlp), data)
    private.fit(data, noise_multiplier=1.0, ema=0.8, **PLAN)
    run = private_of(mlp, data)
    run.fit(data, noise_multiplier=1.0, ema=0.8, out=tmp_path / "run", **PLAN)
    plain = private_of(copy.deepcopy(mlp), data).fit(data, noise_multiplier=1.0, **PLAN)
    for name, value in run.parameters().items():
        assert np.array_equal(value, private.parameters()[name]), name
    assert not np.array_equal(plain.parameters()["0.weight"], run.parameters()["0.weight"])
    assert "0.8" in private.certificate()["post_processing"][0]


def test_a_fork_is_told(mlp, data):
    private = private_of(mlp, data)
    for _ in private.steps(data, noise_multiplier=1.0, **STEPS):
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                private.epsilon(1e-4)
            except dpc.TrainError as error:
                os.write(write, error.code.encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            assert told.read() == "dpc::python::forked"
        break


def test_workers_of_a_loader_may_be_forked(mlp, data):
    from torch.utils.data import DataLoader, TensorDataset

    dataset = TensorDataset(torch.from_numpy(data[0]), torch.from_numpy(data[1]))
    private = private_of(mlp, data)
    for _ in private.steps(data, noise_multiplier=1.0, **STEPS):
        assert sum(len(x) for x, _ in DataLoader(dataset, batch_size=64, num_workers=1, timeout=60)) == len(data[0])
        break


def test_an_item_that_raises(mlp, data):
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, index):
            if index == 17:
                raise OSError("the disk is gone")
            return data[0][index], data[1][index]

    private = private_of(mlp, data)
    with pytest.raises(dpc.DataError, match="item 17.*the disk is gone") as raised:
        private.fit(Broken(), noise_multiplier=1.0, **dict(PLAN, batch_size=10))
    assert isinstance(raised.value.__cause__, OSError)


def test_batches_are_shown(mlp, data, tmp_path):
    whole = private_of(copy.deepcopy(mlp), data).fit(data, noise_multiplier=1.0, **PLAN)
    seen = []
    for out in (None, tmp_path / "run"):
        private = private_of(copy.deepcopy(mlp), data)
        with private.steps(data, noise_multiplier=1.0, out=out, **STEPS) as steps:
            batches = []
            while (indices := steps.sample()) is not None:
                batches.append(indices.tolist())
                assert steps.sample() is indices and indices.dtype == np.int64
                with pytest.raises(dpc.PlanError, match="not the records"):
                    steps.step([*indices, 0, 1])
                step = steps.step(indices[::-1])
                assert step.number == len(batches) and private.certificate()["steps"] == step.number
            assert steps.step([]) is None and next(steps, None) is None
        seen.append(batches)
        for name, value in whole.parameters().items():
            assert np.array_equal(value, private.parameters()[name]), name
    assert seen[0] == seen[1] and len(seen[0]) == 12 and all(batch == sorted(batch) for batch in seen[0])
    assert 30 < np.mean([len(batch) for batch in seen[0]]) < 100


def test_batches_of_groups_are_shown(mlp, data):
    groups = np.arange(400) // 5
    private = private_of(mlp, data)
    grouped = {"input": data[0], "label": data[1], "group": groups}
    steps = private.steps(grouped, noise_multiplier=1.0, **dict(STEPS, batch_size=8))
    indices = steps.sample()
    assert len(indices) % 5 == 0 and all(np.bincount(groups[indices], minlength=80) % 5 == 0)
    steps.close()
    assert private.certificate() is None


def test_what_is_done_is_logged(mlp, data, caplog):
    private = private_of(mlp, data)
    with caplog.at_level("INFO", logger="dpc"):
        private.fit(data, noise_multiplier=1.0, **dict(PLAN, delta=0.1))
    said = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "dpc"]
    assert any(level == "WARNING" and "0.1" in text for level, text in said), said
    plan = "12 steps at sample rate 0.16, noise multiplier 1.0000, on cpu"
    assert any(level == "INFO" and plan in text for level, text in said), said
    assert said[-1][0] == "INFO" and "fixed by a seed" in said[-1][1]


def test_a_loss_that_does_not_fit_is_told(caplog):
    net = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
    dpc.make_private(net, example=(torch.zeros(2, 6),))
    [record] = [record for record in caplog.records if record.name == "dpc"]
    assert record.levelname == "WARNING" and "is a softmax" in record.getMessage() and "--" not in record.getMessage()


def test_bytes_are_told(data, caplog):
    net = nn.Sequential(nn.Linear(6, 3))
    x = (data[0] * 20 + 100).clip(0, 255).astype(np.uint8)
    with caplog.at_level("INFO", logger="dpc"):
        dpc.make_private(net, example=(torch.zeros(2, 6),)).fit((x, data[1]), noise_multiplier=1.0, **PLAN)
    assert "bytes (uint8) of `input` are divided by 255" in caplog.text


def test_a_run_is_resumed_after_an_interrupt_and_an_error(mlp, data, tmp_path):
    whole = private_of(copy.deepcopy(mlp), data).fit(data, noise_multiplier=1.0, **PLAN)
    private = private_of(mlp, data)
    options = dict(PLAN, noise_multiplier=1.0)

    def interrupted(step):
        if step.number == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        private.fit(data, out=tmp_path / "run", on_step=interrupted, **options)
    steps = private.certificate()["steps"]
    assert 4 <= steps <= 5
    with pytest.raises(ZeroDivisionError):
        private.fit(data, resume=tmp_path / "run", on_step=lambda step: 1 // (8 - step.number) < 0, **options)
    assert private.certificate()["steps"] == 8
    private.fit(data, resume=tmp_path / "run", **options)
    assert private.certificate()["steps"] == 12 and private.epsilon(1e-4) == whole.epsilon(1e-4)
    for name, value in whole.parameters().items():
        assert np.array_equal(value, private.parameters()[name]), name
