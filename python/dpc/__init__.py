"""Differentially private training of PyTorch modules and ONNX models.

    private = dpc.make_private(module, loss="cross-entropy", example=(x,), clip=1.0, optimizer=dpc.SGD(lr=0.5))
    private.fit((x, y), epsilon=3, delta=1e-5, batch_size=256, epochs=20)

Then `module` has the trained parameters, and `private.certificate()` says what is guaranteed.
"""

from . import account
from ._dpc import __version__
from ._errors import CompileError, DataError, DpcError, PlanError, TrainError
from ._optimizers import SGD, Adam, AdamW
from ._private import Audit, Gradients, Private, Step, Steps, audit, load, make_private

__all__ = [
    "SGD", "Adam", "AdamW", "Audit", "CompileError", "DataError", "DpcError", "Gradients", "PlanError", "Private",
    "PrivateClassifier", "Step", "Steps", "TrainError", "__version__", "account", "audit", "load", "make_private",
]


def __getattr__(name):
    # scikit-learn is needed by nothing else, and takes a second to import.
    if name == "PrivateClassifier":
        from ._sklearn import PrivateClassifier

        return PrivateClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
