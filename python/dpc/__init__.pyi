import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import account as account
from ._errors import CompileError as CompileError
from ._errors import DataError as DataError
from ._errors import DpcError as DpcError
from ._errors import PlanError as PlanError
from ._errors import TrainError as TrainError
from ._optimizers import SGD as SGD
from ._optimizers import Adam as Adam
from ._optimizers import AdamW as AdamW
from ._sklearn import PrivateClassifier as PrivateClassifier

__version__: str
__all__: list[str]

class Step(NamedTuple):
    number: int
    planned: int
    epoch: float

class Gradients(NamedTuple):
    loss: np.ndarray
    norm: np.ndarray
    group_norms: dict[str, np.ndarray]
    sum: dict[str, np.ndarray]
    per_sample: dict[str, np.ndarray]

class Steps(Iterator[Step]):
    def __next__(self) -> Step: ...
    def sample(self) -> np.ndarray | None: ...
    def step(self, indices: Any) -> Step | None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Steps: ...
    def __exit__(self, *_: Any) -> None: ...

class Private:
    def fit(
        self, data: Any, *, epsilon: float | None = None, noise_multiplier: float | None = None, delta: float | None = None,
        batch_size: float, epochs: float | None = None, steps: int | None = None, lr: float | None = None,
        lr_schedule: str = "constant", sampling: str = "poisson", seed: int | None = None, device: str = "auto",
        physical_batch: int | None = None, augment: str | None = None, ema: float | None = None,
        lr_for: Mapping[str, float] | None = None, tensorboard: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None, resume: bool | str | os.PathLike[str] = False,
        checkpoint_interval: float = 10.0, sample_rate: float | None = None, adjacency: str = "add-remove",
        noise_schedule: str = "constant", clip_schedule: str = "constant", noise_correlation: str | None = None,
        workers: int = 1, cache: str | os.PathLike[str] | None = None,
        on_step: Callable[[Step], bool | None] | None = None, on_epoch: Callable[[Step], bool | None] | None = None,
        progress: bool = True,
    ) -> Private: ...
    def steps(
        self, data: Any, *, epsilon: float | None = None, noise_multiplier: float | None = None, delta: float | None = None,
        batch_size: float, epochs: float | None = None, steps: int | None = None, lr: float | None = None,
        lr_schedule: str = "constant", sampling: str = "poisson", seed: int | None = None, device: str = "auto",
        physical_batch: int | None = None, augment: str | None = None, ema: float | None = None,
        lr_for: Mapping[str, float] | None = None, tensorboard: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None, resume: bool | str | os.PathLike[str] = False,
        checkpoint_interval: float = 10.0, sample_rate: float | None = None, adjacency: str = "add-remove",
        noise_schedule: str = "constant", clip_schedule: str = "constant", noise_correlation: str | None = None,
        workers: int = 1, cache: str | os.PathLike[str] | None = None,
    ) -> Steps: ...
    def epsilon(self, delta: float) -> float: ...
    def certificate(self) -> dict[str, Any] | None: ...
    def evaluate(self, data: Any, device: str = "auto") -> dict[str, Any]: ...
    def predict(self, x: Any, device: str = "auto") -> np.ndarray | dict[str, np.ndarray]: ...
    def gradients(self, data: Any, per_sample: bool = False, device: str = "auto") -> Gradients: ...
    def parameters(self) -> dict[str, np.ndarray]: ...
    def save(self, path: str | os.PathLike[str]) -> None: ...

def make_private(
    module: Any, loss: str = "cross-entropy", example: Any = None, clip: float | str = 1.0,
    optimizer: SGD | Adam | None = None, *, train: Sequence[str] = (), freeze: Sequence[str] = (), noise: str = "exact",
    outputs: Sequence[str] = (), init: str | os.PathLike[str] | None = None,
) -> Private: ...
class Audit(NamedTuple):
    passed: bool
    text: str
    report: dict[str, Any]

def audit(
    private: Private, device: str = "cpu", *, replays: int = 1000, canaries: int | None = None, mutate: bool = False,
) -> Audit: ...
def load(path: str | os.PathLike[str], module: Any = None) -> Private: ...
