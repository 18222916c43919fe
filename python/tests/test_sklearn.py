"""The classifier is one of scikit-learn's."""

import dpc
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

# Those with a seed for all randomness, since several checks compare two fits. Nobody should train so: nothing is guaranteed.
CHECKED = [
    dpc.PrivateClassifier(hidden, epsilon=8, delta=1e-3, epochs=30, device="cpu", insecure_seed=3) for hidden in [(), (8,)]
]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(CHECKED)
def test_checks_of_estimators(estimator, check):
    check(estimator)


def test_a_real_table():
    x, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malignant", "benign"])[y]
    classifier = dpc.PrivateClassifier(hidden=(), epsilon=1, device="cpu", random_state=0)
    scores = cross_val_score(make_pipeline(StandardScaler(), classifier), x, names, cv=3)
    assert scores.mean() > 0.88, scores
    certificate = classifier.fit(StandardScaler().fit_transform(x), names).private_.certificate()
    assert certificate["guarantee"] and certificate["epsilon"] <= 1
    assert set(classifier.predict(x[:5])) <= {"malignant", "benign"}
