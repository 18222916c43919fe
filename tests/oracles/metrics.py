"""Writes the golden file of the measures, tests/golden/metrics.json:

    pip install scikit-learn==1.9.1 numpy
    python tests/oracles/metrics.py > tests/golden/metrics.json

Each case is a loss, the dims of a record's scores and labels, scores and labels of all records (numbers that are exact in
float32), and what scikit-learn makes of them: accuracy_score, top_k_accuracy_score, f1_score, roc_auc_score,
mean_squared_error, mean_absolute_error and r2_score. Scores are multiples of 1/8, so that there are ties, but none among the
scores of one label with several classes, where ranks would be a matter of taste.
"""

import json
import warnings

import numpy as np
from sklearn import metrics

rng = np.random.default_rng(20250611)


def distinct(count, classes):
    """Scores of each label, no two of them equal."""
    return np.stack([rng.choice(np.arange(-40, 40), classes, replace=False) for _ in range(count)]) / 8


def of_classes(name, records, classes, labels, tokens=1, ignored=None):
    scores = distinct(records * tokens, classes)
    # The label has a higher score than it would have by chance.
    for row, label in zip(scores, labels):
        if rng.random() < 0.4 and 0 <= label < classes:
            best = row.argmax()
            row[label], row[best] = row[best], row[label]
    kept = labels != (ignored if ignored is not None else -100)
    answers = scores.argmax(axis=1)
    measures = {
        "accuracy": metrics.accuracy_score(labels[kept], answers[kept]),
        "macro_f1": metrics.f1_score(labels[kept], answers[kept], average="macro", zero_division=0),
    }
    if classes >= 6:
        measures["top5"] = metrics.top_k_accuracy_score(labels[kept], scores[kept], k=5, labels=range(classes))
    if classes == 2 and len(set(labels[kept])) == 2:
        measures["roc_auc"] = metrics.roc_auc_score(labels[kept], (scores[:, 1] - scores[:, 0])[kept])
    dims = [classes] if tokens == 1 else [tokens, classes]
    case(name, dims, [] if tokens == 1 else [tokens], scores, labels, measures, integers=True)


def of_binary(width, records, positive):
    scores = rng.integers(-16, 16, (records, width)) / 8
    labels = (scores + rng.normal(0, 2, scores.shape) > positive).astype(int)
    if width == 1:
        answers = (scores > 0).astype(int)
        macro = metrics.f1_score(labels[:, 0], answers[:, 0], average="macro", zero_division=0)
    else:
        macro = metrics.f1_score(labels, (scores > 0).astype(int), average="macro", zero_division=0)
    measures = {"accuracy": ((scores > 0) == labels).mean(), "macro_f1": macro}
    if all(0 < column.sum() < records for column in labels.T):
        measures["roc_auc"] = metrics.roc_auc_score(labels, scores, average="macro")
    case("bce", [width], [width], scores, labels, measures)


def of_real(name, width, records):
    labels = rng.integers(-80, 80, (records, width)) / 8 + 100
    said = labels + rng.integers(-16, 16, (records, width)) / 8
    measures = {
        "rmse": metrics.mean_squared_error(labels, said) ** 0.5,
        "mae": metrics.mean_absolute_error(labels, said),
    }
    if labels.std(axis=0).sum() > 0:
        measures["r2"] = metrics.r2_score(labels, said, multioutput="variance_weighted")
    case(name, [width], [width], said, labels, measures)


cases = []


def case(loss, dims, label_dims, scores, labels, measures, integers=False):
    cases.append({
        "loss": loss,
        "dims": dims,
        "label_dims": label_dims,
        "scores": scores.ravel().tolist(),
        "labels": labels.ravel().astype(int if integers else float).tolist(),
        "measures": {name: float(value) for name, value in measures.items()},
    })


warnings.simplefilter("error")
of_classes("cross-entropy", 40, 3, rng.integers(0, 3, 40))
of_classes("cross-entropy", 40, 10, rng.integers(0, 10, 40))
# Classes that neither labels nor answers name.
of_classes("nll", 12, 8, rng.integers(2, 4, 12))
of_classes("cross-entropy", 60, 2, rng.integers(0, 2, 60))
of_classes("cross-entropy", 9, 2, np.ones(9, dtype=int))
tokens = rng.integers(0, 7, 60)
tokens[rng.random(60) < 0.3] = 0
of_classes("cross-entropy:axis=last,ignore_index=0", 12, 7, tokens, tokens=5, ignored=0)
of_binary(1, 50, 0.5)
of_binary(4, 50, -0.5)
of_binary(1, 10, 100)
for name, width, records in [("mse", 1, 30), ("l1", 3, 30), ("huber:delta=0.5", 2, 2), ("mse", 1, 1)]:
    of_real(name, width, records)
print("[" + ",\n".join(json.dumps(case) for case in cases) + "]")
