"""Every line of the table in `OPACUS.md`, both sides."""

import copy
import re
from pathlib import Path

import dpc
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from opacus import GradSampleModule, PrivacyEngine
from opacus.accountants.utils import get_noise_multiplier
from opacus.utils.batch_memory_manager import BatchMemoryManager
from opacus.validators import ModuleValidator

PAGE = Path(__file__).resolve().parents[1] / "OPACUS.md"
RECORDS = 32
#: Without noise, and with all records in every batch, so that both sides are functions of the data.
EXACT = dict(noise_multiplier=0.0, delta=1e-5, batch_size=RECORDS, steps=3, device="cpu", progress=False)
PLAN = dict(delta=1e-4, batch_size=8, device="cpu", progress=False)
ROWS = {}

pytestmark = pytest.mark.filterwarnings("ignore")


def row(*start):
    """The lines of the page whose left cells begin so."""

    def register(test):
        ROWS.update(dict.fromkeys(start, test.__name__))
        return test

    return register


def test_every_line_has_a_test():
    table = PAGE.read_text().split("\n## ")[0]
    left = re.findall(r"^\| (.*?) \| ", table, re.MULTILINE)[1:]
    of_line = {cell: [start for start in ROWS if cell.startswith(start)] for cell in left}
    assert len(left) == len(ROWS) and all(len(starts) == 1 for starts in of_line.values()), of_line


@pytest.fixture
def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.fixture(scope="session")
def onnx_of_net():
    """Exporting takes a second, so most tests share this file of the network that `net` makes."""
    from dpc._export import exported

    torch.manual_seed(3)
    return exported(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), torch.zeros(2, 6))


@pytest.fixture(scope="session")
def xy(data):
    return data[0][:RECORDS], data[1][:RECORDS]


def tensors(xy):
    return TensorDataset(torch.from_numpy(xy[0]), torch.from_numpy(xy[1]))


def engine(net, xy, *, batch_size=RECORDS, lr=0.5, how="make_private", accountant="prv", **options):
    """A module, its optimizer, a loader and what else Opacus makes of it."""
    privacy = PrivacyEngine(accountant=accountant)
    options = {"noise_multiplier": 0.0, "max_grad_norm": 0.7, "poisson_sampling": False, **options}
    if how != "make_private":
        del options["noise_multiplier"]
    made = getattr(privacy, how)(
        module=net.train(), optimizer=torch.optim.SGD(net.parameters(), lr=lr),
        data_loader=DataLoader(tensors(xy), batch_size=batch_size), **options)
    return privacy, made


def trained(made, epochs=3, criterion=None, after=None):
    """A loop of Opacus's."""
    net, optimizer, *rest = made
    loader = rest[-1]
    criterion = criterion or (rest[0] if len(rest) > 1 else nn.CrossEntropyLoss())
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            criterion(net(x), y).backward()
            optimizer.step()
            if after is not None:
                after()
    return {name.removeprefix("_module."): value.detach().numpy() for name, value in net.named_parameters()}


def same(private, theirs):
    for name, value in private.parameters().items():
        np.testing.assert_allclose(value, theirs[name], rtol=2e-4, atol=2e-6, err_msg=name)


@row("`PrivacyEngine().make_private_with_epsilon")
def test_training_to_epsilon(net, xy):
    privacy, made = engine(
        copy.deepcopy(net), xy, batch_size=8, how="make_private_with_epsilon", target_epsilon=3, target_delta=1e-4, epochs=2,
        max_grad_norm=1.0, poisson_sampling=True)
    trained(made, epochs=2)
    x = torch.from_numpy(xy[0])
    private = dpc.make_private(net, example=(x,), clip=1.0, optimizer=dpc.SGD(lr=0.5))
    private.fit(tensors(xy), epsilon=3, epochs=2, **PLAN)
    ours = private.certificate()
    assert ours["steps"] == 8 and 2.8 < ours["epsilon"] <= 3 and privacy.get_epsilon(1e-4) <= 3.01
    # The grid of integers costs next to nothing.
    assert ours["history"][0]["noise_multiplier"] == pytest.approx(made[1].noise_multiplier, rel=0.03)


@row("`make_private(…, noise_multiplier=1.1)`")
def test_training_with_noise(net, onnx_of_net, xy):
    privacy, made = engine(net, xy, batch_size=8, noise_multiplier=1.1, poisson_sampling=True)
    trained(made, epochs=2)
    private = dpc.make_private(onnx_of_net).fit(xy, noise_multiplier=1.1, epochs=2, **PLAN)
    assert private.epsilon(1e-4) == pytest.approx(privacy.get_epsilon(1e-4), rel=0.02)


@row("`criterion = nn.CrossEntropyLoss()`")
def test_losses(net, onnx_of_net, xy):
    private = dpc.make_private(onnx_of_net, loss="cross-entropy", clip=5.0, optimizer=dpc.SGD(lr=0.5)).fit(xy, **EXACT)
    expected = plain(net, xy)
    same(private, expected)

    class OwnLoss(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x, label):
            return nn.functional.cross_entropy(self.net(x), label, reduction="none")

    example = (torch.zeros(2, 6), torch.zeros(2, dtype=torch.int64))
    private = dpc.make_private(
        OwnLoss(net), loss="output:loss", outputs=["loss"], example=example, clip=5.0, optimizer=dpc.SGD(lr=0.5))
    private.fit({"x": xy[0], "label": xy[1]}, **EXACT)
    for name, value in private.parameters().items():
        np.testing.assert_allclose(value, expected[name.removeprefix("net.")], rtol=2e-4, atol=2e-6)


def plain(net, xy):
    """PyTorch's own training, as a criterion in Opacus's loop has it where nothing is clipped."""
    net = copy.deepcopy(net)
    return trained(engine(net, xy, max_grad_norm=5.0)[1])


@row('`clipping="flat"`')
def test_flat_clipping(net, onnx_of_net, xy):
    theirs = trained(engine(net, xy, max_grad_norm=0.7, clipping="flat")[1])
    for clip in (0.7, "flat:0.7"):
        same(dpc.make_private(onnx_of_net, clip=clip, optimizer=dpc.SGD(lr=0.5)).fit(xy, **EXACT), theirs)


@row('`clipping="per_layer"`')
def test_clipping_by_parameter(net, onnx_of_net, xy):
    bounds = {"0.weight": 0.5, "0.bias": 0.3, "2.weight": 0.4, "2.bias": 0.2}
    theirs = trained(engine(net, xy, max_grad_norm=list(bounds.values()), clipping="per_layer")[1])
    rule = "per-group:" + ";".join(f"{name}={bound}" for name, bound in bounds.items())
    same(dpc.make_private(onnx_of_net, clip=rule, optimizer=dpc.SGD(lr=0.5)).fit(xy, **EXACT), theirs)
    layers = dpc.make_private(onnx_of_net, clip="per-layer:1.0", optimizer=dpc.SGD(lr=0.5))
    assert set(layers.gradients(xy).group_norms) == {"0", "2"}


@row('`clipping="adaptive"`')
def test_adaptive_clipping(net, onnx_of_net, xy):
    _, made = engine(
        net, xy, clipping="adaptive", noise_multiplier=1.0, max_grad_norm=5.0, target_unclipped_quantile=0.5,
        clipbound_learning_rate=0.2, max_clipbound=1e3, min_clipbound=1e-3, unclipped_num_std=2.0)
    trained(made, epochs=2)
    assert made[1].max_grad_norm != 5.0
    private = dpc.make_private(onnx_of_net, clip="flat:5.0,adaptive,quantile=0.5,count-noise=8")
    private.fit(xy, noise_multiplier=1.0, steps=4, **PLAN)
    assert "adaptive" in str(private.certificate()["clip"]) and private.epsilon(1e-4) > 0


@row('`grad_sample_mode="ghost"`')
def test_ghost_clipping(net, onnx_of_net, xy):
    _, made = engine(net, xy, grad_sample_mode="ghost", criterion=nn.CrossEntropyLoss())
    same(dpc.make_private(onnx_of_net, clip=0.7, optimizer=dpc.SGD(lr=0.5)).fit(xy, **EXACT), trained(made))


@row("`BatchMemoryManager")
def test_physical_batches(net, onnx_of_net, xy):
    _, (module, optimizer, loader) = engine(net, xy)
    for _ in range(3):
        with BatchMemoryManager(data_loader=loader, max_physical_batch_size=10, optimizer=optimizer) as small:
            theirs = trained((module, optimizer, small), epochs=1)
    make = lambda: dpc.make_private(onnx_of_net, clip=0.7, optimizer=dpc.SGD(lr=0.5))
    ours = [make().fit(xy, physical_batch=rows, **EXACT) for rows in (7, 32)]
    same(ours[0], theirs)
    for name, value in ours[1].parameters().items():
        assert np.array_equal(value, ours[0].parameters()[name])


@row("`DPDataLoader`")
def test_batches_are_drawn(net, onnx_of_net, xy):
    _, (_, _, loader) = engine(net, xy, batch_size=8, poisson_sampling=True)
    assert len({len(x) for _ in range(8) for x, _ in loader}) > 1
    given = DataLoader(tensors(xy), batch_size=8, shuffle=True)
    of_step = []
    for kind, adjacency in [("poisson", "add-remove"), ("shuffle", "replace-one")]:
        steps = dpc.make_private(onnx_of_net).steps(
            given, noise_multiplier=1.0, delta=1e-4, batch_size=8, steps=24, device="cpu", sampling=kind, adjacency=adjacency)
        sizes = []
        while (indices := steps.sample()) is not None:
            sizes.append(len(indices))
            steps.step(indices)
        of_step.append(sizes)
    assert len(of_step[0]) == 24 and len(set(of_step[0])) > 1 and set(of_step[1]) == {8}


@row("`secure_mode=True`")
def test_secure_randomness(net, onnx_of_net, xy):
    with pytest.raises((ImportError, ModuleNotFoundError)):
        PrivacyEngine(secure_mode=True)
    runs = [dpc.make_private(onnx_of_net).fit(xy, noise_multiplier=1.0, steps=1, **PLAN) for _ in range(2)]
    assert runs[0].certificate()["guarantee"] and runs[0].certificate()["grid"]
    assert not np.array_equal(runs[0].parameters()["0.weight"], runs[1].parameters()["0.weight"])


@row("`privacy_engine.get_epsilon(delta)`", '`PrivacyEngine(accountant="prv")`')
def test_accounting(net, onnx_of_net, xy):
    private = dpc.make_private(onnx_of_net).fit(xy, noise_multiplier=1.1, epochs=2, **PLAN)
    for accountant in ("prv", "rdp"):
        options = dict(batch_size=8, noise_multiplier=1.1, poisson_sampling=True, accountant=accountant)
        privacy, made = engine(copy.deepcopy(net), xy, **options)
        trained(made, epochs=2)
        found = dpc.account.epsilon(0.25, 1.1, 8, 1e-4, accountant=accountant)
        assert found == pytest.approx(privacy.get_epsilon(1e-4), rel=0.02)
        assert private.epsilon(1e-4) <= 1.001 * found
    assert private.certificate()["epsilon"] == pytest.approx(private.epsilon(1e-4))


@row("`get_noise_multiplier(")
def test_noise_for_epsilon():
    theirs = get_noise_multiplier(
        target_epsilon=2, target_delta=1e-5, sample_rate=0.04, steps=500, accountant="prv", epsilon_tolerance=1e-3)
    assert dpc.account.noise_multiplier(0.04, 2.0, 500, 1e-5) == pytest.approx(theirs, rel=0.01)


@row("a loop of one's own")
def test_a_loop_of_ones_own(net, onnx_of_net, xy):
    losses, (x, y) = [], tensors(xy).tensors
    _, made = engine(net, xy)

    def look():
        with torch.no_grad():
            losses.append(nn.functional.cross_entropy(made[0](x), y).item())

    trained(made, after=look)
    private = dpc.make_private(onnx_of_net, clip=0.7, optimizer=dpc.SGD(lr=0.5))
    options = {name: value for name, value in EXACT.items() if name != "progress"}
    ours = [private.evaluate(xy)["loss"] for _ in private.steps(xy, **options)]
    np.testing.assert_allclose(ours, losses, rtol=1e-4)


def mixing():
    return nn.Sequential(nn.Conv1d(6, 4, 1), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(4, 3))


@row("`ModuleValidator.validate(module)`")
def test_validation():
    assert any("BatchNorm" in str(error) for error in ModuleValidator.validate(mixing().train()))
    with pytest.raises(dpc.CompileError) as raised:
        dpc.make_private(mixing(), example=(torch.zeros(2, 6, 1),))
    assert raised.value.layers == ["1"] and raised.value.help


@row("`ModuleValidator.fix(module)`")
def test_fixing(xy, command, tmp_path):
    from dpc._export import exported

    x = np.repeat(xy[0][:, :, None], 2, 2)
    wide = lambda: nn.Sequential(nn.Conv1d(6, 4, 1), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(8, 3))
    fixed = ModuleValidator.fix(wide())
    assert isinstance(fixed[1], nn.GroupNorm)
    dpc.make_private(fixed, example=(torch.from_numpy(x),)).fit((x, xy[1]), noise_multiplier=1.0, steps=1, **PLAN)
    (tmp_path / "net.onnx").write_bytes(exported(wide(), torch.from_numpy(x)))
    command("compile", tmp_path / "net.onnx", "-o", tmp_path / "net.dpc", "--loss", "cross-entropy", "--fix", "batch-norm=group")
    private = dpc.load(tmp_path / "net.dpc").fit((x, xy[1]), noise_multiplier=1.0, steps=1, lr=0.1, **PLAN)
    assert private.certificate()["steps"] == 1


@row("`privacy_engine.save_checkpoint`")
def test_checkpoints(net, onnx_of_net, xy, tmp_path):
    options = dict(batch_size=8, noise_multiplier=1.1, poisson_sampling=True)
    privacy, (module, optimizer, loader) = engine(copy.deepcopy(net), xy, **options)
    trained((module, optimizer, loader), epochs=1)
    privacy.save_checkpoint(path=tmp_path / "theirs.pt", module=module, optimizer=optimizer)
    spent = privacy.get_epsilon(1e-4)
    again, (module, optimizer, loader) = engine(net, xy, **options)
    again.load_checkpoint(path=tmp_path / "theirs.pt", module=module, optimizer=optimizer)
    assert again.get_epsilon(1e-4) == pytest.approx(spent)

    plan = dict(PLAN, noise_multiplier=1.1, steps=8)
    private = dpc.make_private(onnx_of_net)
    private.fit(xy, out=tmp_path / "run", on_step=lambda step: step.number == 4, **plan)
    assert private.epsilon(1e-4) == pytest.approx(spent, rel=0.02)
    other = dpc.make_private(onnx_of_net)
    other.fit(xy, resume=tmp_path / "run", **plan)
    assert other.certificate()["steps"] == 8


@row("`StepLR(optimizer, …)`")
def test_schedules(net, onnx_of_net, xy):
    from opacus.schedulers import StepNoise

    _, made = engine(copy.deepcopy(net), xy)
    rate = torch.optim.lr_scheduler.StepLR(made[1], step_size=1, gamma=0.5)
    theirs = trained(made, after=rate.step)
    private = dpc.make_private(onnx_of_net, clip=0.7, optimizer=dpc.SGD(lr=0.5))
    same(private.fit(xy, lr_schedule="step:every=1,factor=0.5", **EXACT), theirs)

    privacy, made = engine(net, xy, batch_size=8, noise_multiplier=2.0, poisson_sampling=True)
    noise = StepNoise(made[1], step_size=1, gamma=0.8)
    trained(made, epochs=1, after=noise.step)
    private = dpc.make_private(onnx_of_net)
    schedules = dict(noise_schedule="step:every=1,factor=0.8", clip_schedule="step:every=2,factor=0.9")
    private.fit(xy, noise_multiplier=2.0, steps=4, **schedules, **PLAN)
    assert private.epsilon(1e-4) == pytest.approx(privacy.get_epsilon(1e-4), rel=0.02)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 1.0, 2.0]))

    def forward(self, x):
        return self.scale * x


@row("`register_grad_sampler`")
def test_layers_of_ones_own(net, xy):
    net = nn.Sequential(net, Scaled())
    private = dpc.make_private(copy.deepcopy(net), example=(torch.zeros(2, 6),), clip=0.7, optimizer=dpc.SGD(lr=0.5))
    same(private.fit(xy, **EXACT), trained(engine(net, xy)[1]))


@row("`p.grad_sample`")
def test_gradients_of_records(net, onnx_of_net, xy):
    wrapped = GradSampleModule(copy.deepcopy(net))
    nn.CrossEntropyLoss()(wrapped(torch.from_numpy(xy[0])), torch.from_numpy(xy[1])).backward()
    found = dpc.make_private(onnx_of_net, clip=0.7).gradients(xy, per_sample=True, device="cpu")
    total = 0
    for name, parameter in wrapped._module.named_parameters():
        np.testing.assert_allclose(found.per_sample[name], parameter.grad_sample.numpy(), rtol=1e-4, atol=1e-6)
        total = total + parameter.grad_sample.flatten(1).square().sum(1).numpy()
    np.testing.assert_allclose(found.norm, np.sqrt(total), rtol=1e-4)
    factors = np.minimum(1, 0.7 / np.sqrt(total))
    for name, value in found.sum.items():
        np.testing.assert_allclose(value, np.tensordot(factors, found.per_sample[name], 1), rtol=1e-3, atol=1e-5)
    assert found.loss.shape == (RECORDS,) and not dpc.make_private(onnx_of_net).gradients(xy).per_sample
