"""A classifier in scikit-learn's manner."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._optimizers import SGD
from ._private import make_private


class PrivateClassifier(ClassifierMixin, BaseEstimator):
    """A network of dense layers with tanh between them, trained with differential privacy.

    The guarantee is about records: that of one row of `X` with its label. What it does not cover is what the caller
    takes from the data beforehand: the number of rows, the classes where `classes` is not given, and a scaler that was
    fitted to them. Features should be of the order of 1.

    hidden: the widths of the hidden layers; () is logistic regression.
    epsilon, delta: the guarantee of a fit; delta is by default 0.1 / the number of rows.
    batch_size: expected records of a step, by default a quarter of the rows.
    epochs: expected passes over the data.
    lr, momentum, clip: those of SGD on gradients that are clipped for each record.
    classes: the labels that there are, from public knowledge.
    device: "auto", "cpu", "gpu" or "gpu:NAME".
    random_state: of the initial weights alone. Sampling and noise are the system's randomness, so two fits differ.
    insecure_seed: fixes sampling and noise too, for tests; nothing is guaranteed then.

    Afterwards `private_` is the `dpc.Private` that was trained, with its `certificate()`.
    """

    def __init__(
        self, hidden=(64,), *, epsilon=1.0, delta=None, batch_size=None, epochs=20, lr=1.0, momentum=0.0, clip=1.0,
        classes=None, device="auto", random_state=None, insecure_seed=None,
    ):
        self.hidden = hidden
        self.epsilon = epsilon
        self.delta = delta
        self.batch_size = batch_size
        self.epochs = epochs
        self.lr = lr
        self.momentum = momentum
        self.clip = clip
        self.classes = classes
        self.device = device
        self.random_state = random_state
        self.insecure_seed = insecure_seed

    def fit(self, X, y):
        """Trains anew on `X`, `[records, features]`, and the labels `y`, `[records]`."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        found = np.unique(y)
        self.classes_ = found if self.classes is None else np.unique(self.classes)
        if len(self.classes_) < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_[0]!r}")
        unknown = np.setdiff1d(found, self.classes_)
        if len(unknown):
            raise ValueError(f"y has labels that are not among classes: {unknown.tolist()}")
        records = len(X)
        widths = [X.shape[1], *self.hidden, len(self.classes_)]
        model = _network(widths, check_random_state(self.random_state))
        self.private_ = make_private(model, "cross-entropy", clip=self.clip, optimizer=SGD(self.lr, self.momentum))
        self.private_.fit(
            {"x": X, "label": np.searchsorted(self.classes_, y)}, epsilon=self.epsilon,
            delta=0.1 / records if self.delta is None else self.delta,
            batch_size=max(1, records // 4) if self.batch_size is None else self.batch_size, epochs=self.epochs,
            seed=self.insecure_seed, device=self.device, progress=False)
        return self

    def decision_function(self, X):
        """The logits, `[records, classes]`; of two classes how much more the second has, `[records]`."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X):
        """The probabilities of the classes, `[records, classes]`."""
        logits = self._logits(X).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, X):
        """The most probable classes, `[records]`."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]

    def _logits(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return self.private_.predict({"x": X}, device=self.device)


def _network(widths, random):
    """The bytes of an ONNX file of dense layers, with Glorot's initial weights."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, weights, value = [], [], "x"
    for layer, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        last = layer == len(widths) - 2
        bound = (6 / (inputs + outputs)) ** 0.5
        weight = random.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
        weights += [numpy_helper.from_array(weight, f"{layer}.weight"),
                    numpy_helper.from_array(np.zeros(outputs, np.float32), f"{layer}.bias")]
        after = "logits" if last else f"{layer}.out"
        nodes.append(helper.make_node("Gemm", [value, f"{layer}.weight", f"{layer}.bias"], [after], f"{layer}"))
        value = after
        if not last:
            value = f"{layer}.tanh"
            nodes.append(helper.make_node("Tanh", [after], [value], value))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", widths[0]])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", widths[-1]])
    graph = helper.make_graph(nodes, "classifier", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()
