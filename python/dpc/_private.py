"""The two lines: `make_private`, and `Private.fit`."""

import json
import logging
import os
import time
from collections import namedtuple

from . import _data, _dpc
from ._errors import CompileError, PlanError, in_python
from ._optimizers import SGD

#: What is done, and what there is to be known of it.
logger = logging.getLogger("dpc")

#: Seconds between lines of progress in the log.
_LOG_INTERVAL = 10.0

#: A step that was taken: its number from 1 on, of how many, and the expected passes over the data so far.
Step = namedtuple("Step", ["number", "planned", "epoch"])


def make_private(
    module, loss="cross-entropy", example=None, clip=1.0, optimizer=None, *, train=(), freeze=(), noise="exact", outputs=(),
    init=None,
):
    """Compiles a torch module, a model of Keras 3 (on torch) or Flax (nnx, by jax2onnx), or the ONNX file at a path.

    `example` is a tuple of the module's inputs, with records on axis 0. `clip` is a bound, or the text of a clip rule.
    `train` and `freeze` are patterns of parameter names; parameters that require no gradient are frozen anyway. `outputs` are
    names for what a module returns, in its order, by which a loss can name them ("output:loss", "logits=cross-entropy +
    0.3*aux=mse"). `init` is a `.safetensors` file or an ONNX model, taken to be public, whose values parameters and buffers of the
    same name and shape begin with; the log (INFO) has a table of them, and the certificate names the file.
    """
    optimizer = SGD(lr=0.1) if optimizer is None else optimizer
    clip = clip if isinstance(clip, str) else f"flat:{clip}"
    train, freeze = list(train), list(freeze)
    of_torch, adapter = not isinstance(module, (str, bytes, os.PathLike)), None
    if of_torch:
        from ._export import exported, with_layers
        from ._frameworks import adapted

        if example is None:
            raise CompileError("a module needs an example of its inputs", "dpc::python::example", "give example=(x,)")
        adapter = adapted(module)
        if adapter is None and not hasattr(module, "named_parameters"):
            raise CompileError(
                f"a {type(module).__name__} is no model that dpc reads", "dpc::python::module",
                "give a torch module, a model of Keras or Flax, or the path of an ONNX file")
    if adapter is not None:
        model, weights, others = adapter.exported(example, outputs)
        train, freeze = train + weights, freeze + others
    elif of_torch:
        model = exported(module, example, outputs)
        freeze += _without_gradient(module, model)
    elif isinstance(module, bytes):
        model = module
    else:
        try:
            with open(module, "rb") as file:
                model = file.read()
        except OSError as error:
            raise CompileError(f"{os.fspath(module)} cannot be read: {error.strerror}", "dpc::file") from None
    try:
        core = _dpc.Private.compile(
            model, loss, clip, optimizer._text(), train, freeze, noise, None if init is None else os.fspath(init))
    except CompileError as error:
        raise (with_layers(error, model) if of_torch else error) from None
    for notice in core.notices():
        logger.warning("%s", in_python(notice))
    if (initial := core.initial()) is not None:
        logger.info("%s", initial)
    private = Private(core, optimizer.lr, module if of_torch else None, adapter)
    private._check_names()
    return private


def load(path, module=None):
    """What `Private.save` wrote, or the directory of a run. A `module` gets the trained parameters."""
    from ._frameworks import adapted

    if module is not None and adapted(module) is not None:
        raise CompileError(
            "weights are written back into models of Keras and Flax by what make_private made of them alone", "dpc::python::load",
            "leave out the module; `parameters()` has the weights")
    private = Private(_dpc.Private.load(os.fspath(path)), None, module)
    private._check_names()
    private._write_back()
    return private


def _without_gradient(module, model):
    """The names of the file's initializers that are parameters without gradient."""
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    if not frozen:
        return []
    import onnx

    there = {tensor.name for tensor in onnx.load_from_string(model).graph.initializer}
    return [name for name in frozen if name in there]


#: What an audit found: whether all of it passed, the report for people, and the report as a dict.
Audit = namedtuple("Audit", ["passed", "text", "report"])


def audit(private, device="cpu", *, replays=1000, canaries=None, mutate=False):
    """Tries to break what `private` guarantees: replays steps with and without a canary record, tests noise and sampling.

    `canaries` are those of a whole training to audit; `mutate` audits plans that are broken on purpose, too, which have to
    fail. Needs no data, and changes nothing.
    """
    passed, text, report = private._core.audit(device, replays, canaries, mutate)
    return Audit(passed, text, json.loads(report))


#: What the records of a batch do to the gradient; made by `Private.gradients`.
Gradients = namedtuple("Gradients", ["loss", "norm", "group_norms", "sum", "per_sample"])


class Steps:
    """The steps of a training, made by `Private.steps`: an iterator of `Step`.

    Its end, or its being left, ends the training: `close()`, a `with` statement, or that nothing refers to it any more.
    """

    def __init__(self, private, session, patience):
        self._session = session
        self._steps = private._taken(session, patience)
        self._sampled = None

    def __iter__(self):
        return self

    def __next__(self):
        self._sampled = None
        return next(self._steps)

    def sample(self):
        """The numbers of the records that the next step draws, `[records]`, in increasing order, or by groups; None at the end.

        They are drawn once, by the sampler that the guarantee rests on, and there may be none. Whoever is shown them, or what
        is made of them, knows more than the guarantee allows for.
        """
        import numpy as np

        if self._sampled is None:
            records = self._session.drawn()
            self._sampled = None if records is None else np.array(records, np.int64)
        return self._sampled

    def step(self, indices):
        """Takes the next step, with the records that `sample()` gave, in any order; the `Step`, or None at the end.

        Others are refused: that nobody chooses or foresees the records of a step is what makes its noise enough. Batches of
        another kind are had by `sampling=`.
        """
        import numpy as np

        drawn = self.sample()
        if drawn is None:
            return None
        if not np.array_equal(np.sort(np.asarray(indices).ravel()), np.sort(drawn)):
            raise PlanError(
                "these are not the records that the step draws", "dpc::python::drawn",
                "give what sample() returned. The noise is planned for batches that are drawn at random and in secret; with "
                "records of your own choice nothing would be guaranteed. sampling=\"fixed-size\" draws batches of one size")
        return next(self, None)

    def close(self):
        """Ends the training."""
        self._steps.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Private:
    """A model that is trained privately; made by `make_private` or `load`."""

    def __init__(self, core, lr, module, adapter=None):
        self._core, self._lr, self._module, self._adapter, self._session = core, lr, module, adapter, None
        self._schema = json.loads(core.schema())

    def fit(self, data, *, on_step=None, on_epoch=None, progress=True, **plan):
        """Trains with differential privacy, and writes the parameters into the module.

        Takes all that `steps` does. `on_step` and `on_epoch` get a `Step`, and end the training by True; what they ask of
        this object they are told of the steps so far. What was trained is kept also where the training is interrupted.
        """
        bar = _Bar(progress)
        epochs, told = 0, time.monotonic()
        try:
            for step in self._steps(data, 0.0 if on_step or on_epoch else 0.05, plan):
                bar.update(step)
                if time.monotonic() - told > _LOG_INTERVAL:
                    told = time.monotonic()
                    logger.info("step %d of %d, epoch %.2f", *step)
                stop = on_step is not None and on_step(step)
                if on_epoch is not None and int(step.epoch + 1e-9) > epochs:
                    epochs = int(step.epoch + 1e-9)
                    stop = on_epoch(step) or stop
                if stop:
                    break
        finally:
            bar.close()
        return self

    def steps(self, data, **plan):
        """Trains step by step: `Steps`, an iterator of `Step` whose end, or whose being left, ends the training.

            for step in private.steps((x, y), epsilon=3, delta=1e-5, batch_size=256, epochs=20):
                ...

        Each step draws its batch by itself, of `batch_size` expected records, since the guarantee rests on how they are
        drawn; `Steps.sample` and `Steps.step` are for loops that want to see which. In between `evaluate`, `predict`,
        `parameters`, `epsilon` and `certificate` are about the steps so far.

        data: a pair (x, y) of arrays, a dict of arrays, a data frame, a torch Dataset or a DataLoader's, or a file's path.
            Arrays are not copied. The items of a Dataset are read once, before the first step, by `workers` threads, of which
            one at a time runs Python; they are kept in memory, or with `cache` in the file of this path, which later trainings
            use again. With more than one worker the Dataset must bear to be read by several threads.

        epsilon, noise_multiplier: the noise is what keeps all steps to (`epsilon`, `delta`), those of earlier trainings of
            this object included, or `noise_multiplier` times the clip bound. One of both.
        delta: well below one over the number of records.
        batch_size: expected records of a step. `physical_batch` is how many of them are computed at once, by default what
            fits; it does not change the result.
        epochs, steps: how long. One of both.
        lr, lr_for, lr_schedule: the learning rate, by default the optimizer's; those of parameters that have their own, by
            patterns of their names; and how they change ("cosine:warmup=100").
        noise_correlation: "banded:B" or "tree", noise that later steps take away in part. With it, sampling is "poisson", of the
            parts of a cycle in turn, as many as bands, or "cyclic", of as many as batches make a pass ("cyclic:PARTS" says how
            many).
        sampling: "poisson", "truncated-poisson", "fixed-size" or "shuffle". `sample_rate` is by default `batch_size` over the
            number of records, which is public then; `adjacency` is "add-remove" or "replace-one".
        noise_schedule, clip_schedule: how the noise multiplier and the clip bound change ("step:every=100,factor=0.9").
        augment, ema: random views of a record ("8:flip,crop=4"), and the decay of a moving average of the parameters.
        out, resume, checkpoint_interval: the directory of a run as the command line writes it, whether to go on with it
            (`resume=DIR` is short for `out=DIR, resume=True`), and seconds between checkpoints. `tensorboard` is the
            directory of an event file beside it.
        device: "auto", "cpu", "gpu" or "gpu:NAME".
        seed: fixes sampling and noise, for tests; nothing is guaranteed then.
        """
        return self._steps(data, 0.0, plan)

    def _steps(self, data, patience, plan):
        session = self._begin(data, **plan)
        # Begun here, where errors belong, and not at the first step.
        return Steps(self, session, patience)

    def _begin(
        self, data, *, epsilon=None, noise_multiplier=None, delta=None, batch_size, epochs=None, steps=None, lr=None,
        lr_schedule="constant", sampling="poisson", seed=None, device="auto", physical_batch=None, augment=None, ema=None,
        lr_for=None, out=None, resume=False, checkpoint_interval=10.0, tensorboard=None, sample_rate=None,
        adjacency="add-remove", noise_schedule="constant", clip_schedule="constant", noise_correlation=None, workers=1,
        cache=None,
    ):
        if self._session is not None:
            raise PlanError("a training is under way already", "dpc::python::under_way", "let its steps end")
        if (lr := self._lr if lr is None else lr) is None:
            raise PlanError("the learning rate is not known", "dpc::python::option", "give lr=")
        if not isinstance(resume, bool):
            out, resume = resume if out is None else out, True
        options = dict(
            epsilon=epsilon, noise_multiplier=noise_multiplier, delta=delta, batch_size=batch_size, epochs=epochs,
            steps=steps, seed=seed, sampling=sampling, sample_rate=sample_rate, adjacency=adjacency,
            noise_correlation=noise_correlation, noise_schedule=noise_schedule, clip_schedule=clip_schedule, lr=lr,
            lr_schedule=lr_schedule, device=device,
            physical_batch=physical_batch, augment=augment, ema=ema, out=None if out is None else os.fspath(out),
            lr_for=[f"{pattern}={rate}" for pattern, rate in (lr_for or {}).items()], resume=resume,
            tensorboard=None if tensorboard is None else os.fspath(tensorboard), checkpoint_interval=checkpoint_interval)
        session = self._core.begin(_data.given(data, self._schema, workers, cache), options)
        plan = session.planned()
        for warning in plan["warnings"]:
            logger.warning("%s", in_python(warning))
        for name in plan["bytes"]:
            logger.info("bytes (uint8) of `%s` are divided by 255", name)
        logger.info(
            "%d steps at sample rate %.6g, noise multiplier %.4f, on %s in physical batches of %d", plan["steps"] - plan["taken"],
            plan["rate"], plan["noise_multiplier"], plan["device"], plan["rows"])
        return session

    def _taken(self, session, patience):
        self._session = session
        plan, begun = session.planned(), time.monotonic()
        try:
            while (number := session.go(patience)) is not None:
                yield Step(number, plan["steps"], number * plan["rate"])
        finally:
            try:
                session.end()
            finally:
                self._core.follow(session)
                self._session = None
                self._write_back()
                logger.info("trained for %.1f s. %s", time.monotonic() - begun, self._statement())

    def _now(self):
        """The compiled half, with what the steps so far have come to."""
        if self._session is not None:
            self._core.follow(self._session)
        return self._core

    def _statement(self):
        certificate = self._core.certificate()
        return "Nothing was released." if certificate is None else json.loads(certificate)["statement"]

    def epsilon(self, delta):
        """ε of all steps taken, at this δ."""
        return self._now().epsilon(delta)

    def certificate(self):
        """What is guaranteed, with all that it depends on, as a dict; None before any training."""
        text = self._now().certificate()
        return None if text is None else json.loads(text)

    def evaluate(self, data, device="auto"):
        """Loss and accuracy as a dict. They are not private where `data` are not public."""
        return json.loads(self._now().evaluate(_data.given(data, self._schema), device))

    def predict(self, x, device="auto"):
        """The model's output for the input `x`, a tuple of inputs, or a dict by name; a dict where there are several.

        Arrays have records on axis 0, and so do the outputs, which are NumPy's.
        """
        names = [entry["name"] for entry in self._schema["inputs"]]
        inputs = {name: _data.packed(name, value) for name, value in _data.named(x, names, "input").items()}
        outputs = self._now().predict(inputs, device)
        outputs = {name: _data.unpacked(array) for name, array in outputs.items()}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def gradients(self, data, per_sample=False, device="auto"):
        """What the records of a small batch do to the gradient, for looking and comparing, as `Gradients` of NumPy arrays.

        `loss` and `norm` are `[records]`, of each record's own loss and gradient; `group_norms` has such norms by clip group;
        `sum` has the sum of the clipped gradients by parameter, without noise; `per_sample` has every record's gradient,
        `[records, ...]`, by parameter, where it is asked for. Nothing of it is private.
        """
        found = self._now().gradients(_data.given(data, self._schema), per_sample, device)
        found = {part: {name: _data.unpacked(array) for name, array in arrays.items()} for part, arrays in found.items()}
        return Gradients(**found["records"], group_norms=found["groups"], sum=found["sum"], per_sample=found["per_sample"])

    def parameters(self):
        """The trained parameters as NumPy arrays by name."""
        return {name: _data.unpacked(array) for name, array in self._now().parameters().items()}

    def save(self, path):
        """Writes the trained model: `.onnx`, `.safetensors`, or an artifact that `load` and the command line read."""
        self._now().save(os.fspath(path))

    def __reduce__(self):
        import tempfile

        # As saved: the certificate, and not the steps one by one, so that a copy is not trained further.
        with tempfile.TemporaryDirectory() as place:
            self.save(os.path.join(place, "model.dpc"))
            files = {}
            for name in os.listdir(place):
                with open(os.path.join(place, name), "rb") as file:
                    files[name] = file.read()
        # Where weights belong in a model that is none of torch's, only the export shows.
        return _restored, (files, self._lr, self._module if self._adapter is None else None)

    def _check_names(self):
        if self._module is None or self._adapter is not None:
            return
        missing = sorted(set(self._core.parameters()) - set(self._module.state_dict(keep_vars=True)))
        if missing:
            raise CompileError(
                f"the module has no parameters of these names: {', '.join(missing)}", "dpc::python::parameters",
                "the exporter gave what is trained other names; freeze them, or train the ONNX file by its path")

    def _write_back(self):
        if self._adapter is not None:
            self._adapter.write_back(self.parameters())
        if self._module is None or self._adapter is not None:
            return
        import torch

        state = self._module.state_dict()
        with torch.no_grad():
            for name, value in self.parameters().items():
                state[name].copy_(torch.from_numpy(value))


def _restored(files, lr, module):
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            with open(os.path.join(place, name), "wb") as file:
                file.write(content)
        return Private(_dpc.Private.load(os.path.join(place, "model.dpc")), lr, module)


class _Bar:
    """A bar, where tqdm is installed and the training takes a second."""

    def __init__(self, wanted):
        self._bar = self._tqdm = None
        if wanted:
            try:
                from tqdm.auto import tqdm

                self._tqdm = tqdm
            except ImportError:
                pass

    def update(self, step):
        if self._tqdm is not None:
            if self._bar is None:
                self._bar = self._tqdm(total=step.planned, unit="step", delay=1.0)
            self._bar.update(step.number - self._bar.n)

    def close(self):
        if self._bar is not None:
            self._bar.close()
