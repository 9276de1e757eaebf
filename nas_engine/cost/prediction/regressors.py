"""Families of models that predict standardised targets from genotypes: Gaussian processes and ensembles of trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from nas_engine.cost.prediction.choice_costs import ChoiceCosts
from nas_engine.cost.prediction.choice_kernel import JITTER, ChoiceKernel, Covariance
from nas_engine.cost.prediction.encodings import FeatureEncoding, Floats, GenotypeFeatures, Genotypes
from nas_engine.cost.prediction.mean_arrays import ProcessArrays, TreeArrays, tree_columns
from nas_engine.cost.prediction.posterior_mean import posterior_mean
from nas_engine.domain.search_space import Gene

NUM_FOLDS = 4
"""Parts in which the samples are left out in turn."""

NUM_BOOSTING_FOLDS = 3
"""The same for boosted trees, which are dear."""

NUM_BOOSTED_TREES = 50
NUM_RANDOM_TREES = 40

TREE_LENGTH = 0.15
"""Share of differing genes over which errors of trees are taken to become independent."""


DOUBT_FREEDOM = 4.0
"""Degrees of freedom of the Student-t distribution that errors to the worse side are taken to have."""

MAX_DOUBTED = 300
"""Samples from which the hyper-parameters of a model that doubts some are learned, once it is chosen."""

DOUBT_ROUNDS = 2
"""Times that samples are weighed against what the others say of them."""


class Family(Enum):
    """Kind of model."""

    RIDGE = "ridge"
    GAUSSIAN_PROCESS = "gaussian_process"
    BOOSTED_TREES = "boosted_trees"
    RANDOM_TREES = "random_trees"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Predictions of samples by models that did not see them.

    Attributes:
        mean: per sample.
        variance: that the model gives them.
        doubt: part of the variance that only this sample has, as it came out far worse than the others say.
    """

    mean: Floats
    variance: Floats
    doubt: Floats


class GaussianProcess:
    """Posterior in closed form under a `ChoiceKernel`; without interactions it is Bayesian linear regression."""

    def __init__(
        self,
        genes: Sequence[Gene],
        encoding: FeatureEncoding,
        costs: ChoiceCosts | None = None,
        *,
        interactions: bool = True,
        doubts: bool = False,
    ) -> None:
        """See class.

        Args:
            genes: of the space.
            encoding: of the genotypes.
            costs: of the choices, for the encoding that needs them.
            interactions: without them it is linear.
            doubts: whether samples that came out far worse than the others say count less: what disturbs a timed run
                makes it longer. Those that came out better are believed.
        """
        self._features = GenotypeFeatures(genes, encoding, costs)
        self._doubts = doubts
        self._kernel = ChoiceKernel(self._features.blocks, interactions=interactions)
        self.covariance = Covariance.start(len(genes))
        self.evidence = -np.inf
        """Logarithm of the likelihood per sample, none doubted, a constant apart; known once it has learned."""

    def learn_covariance(
        self, genotypes: Genotypes, targets: Floats, error_variance: Floats, start: Covariance | None = None
    ) -> None:
        """Choose the hyper-parameters."""
        features = self._features.of(genotypes)
        self.covariance = self._kernel.most_likely(features, targets, error_variance, start)
        self._known, self._targets = features, targets
        half_determinant = self._condition(error_variance)
        # Rasmussen & Williams, eq. 2.30.
        self.evidence = -(0.5 * float(targets @ self._weights) + half_determinant) / len(targets)
        if self._doubts:
            self._weigh(error_variance)
            self.covariance = self._kernel.most_likely(
                features, targets, error_variance + self._doubt, self.covariance, MAX_DOUBTED
            )

    def fit(self, genotypes: Genotypes, targets: Floats, error_variance: Floats) -> None:
        """Condition on samples, with the hyper-parameters as they are."""
        self._known, self._targets = self._features.of(genotypes), targets
        self._condition(error_variance)
        if self._doubts:
            self._weigh(error_variance)

    def _weigh(self, error_variance: Floats) -> None:
        """Condition on the samples, each with the variance that a Student-t error as large as its own has.

        Expectation and maximisation (Lange et al. 1989, "Robust statistical modeling using the t distribution"), with
        the error that a sample has when it is left out, and on the worse side only.
        """
        for _ in range(DOUBT_ROUNDS):
            left_out_variance = 1.0 / np.diag(self._precision)
            error = self._weights * left_out_variance
            squares = error**2 / (left_out_variance - self._doubt)
            factor = np.where(error < 0.0, (DOUBT_FREEDOM + squares) / (DOUBT_FREEDOM + 1.0), 1.0)
            doubt = (self.covariance.noise + error_variance) * np.maximum(factor - 1.0, 0.0)
            self._condition(error_variance, doubt)

    def _condition(self, error_variance: Floats, doubt: Floats | None = None) -> float:
        """Condition on the samples; returns half the logarithm of the covariances' determinant."""
        self._doubt = np.zeros(len(self._targets)) if doubt is None else doubt
        gram = self._kernel.between(self._known, self._known, self.covariance)
        gram[np.diag_indices_from(gram)] += self.covariance.noise + JITTER + error_variance + self._doubt
        factor = cho_factor(gram, lower=True, overwrite_a=True)
        self._precision: Floats = cho_solve(factor, np.eye(len(gram)), overwrite_b=True)
        self._weights: Floats = self._precision @ self._targets
        self._mean: ProcessArrays | None = None
        return float(np.log(np.diag(factor[0])).sum())

    def mean(self, genotypes: Genotypes) -> Floats:
        """The mean alone, which costs less, in single precision."""
        return self.arrays().mean(self._features, genotypes)

    def arrays(self) -> ProcessArrays:
        """What its mean needs, as plain arrays."""
        if self._mean is None:
            self._mean = posterior_mean(self._features, self._kernel, self.covariance, self._known, self._weights)
        return self._mean

    def predict(self, genotypes: Genotypes) -> tuple[Floats, Floats]:
        """Mean and variance of the true values."""
        features = self._features.of(genotypes)
        cross = self._kernel.between(features, self._known, self.covariance)
        explained = ((cross @ self._precision) * cross).sum(axis=1)
        prior = self._kernel.variance(features, self.covariance)
        return cross @ self._weights, np.maximum(prior - explained, 0.0) + self.covariance.noise

    def joint(self, genotypes: Genotypes) -> tuple[Floats, Floats]:
        """Mean, and the covariance of the true values with one another."""
        features = self._features.of(genotypes)
        cross = self._kernel.between(features, self._known, self.covariance)
        prior = self._kernel.between(features, features, self.covariance)
        covariance = prior - (cross @ self._precision) @ cross.T
        covariance[np.diag_indices_from(covariance)] = np.maximum(np.diag(covariance), 0.0) + self.covariance.noise
        return cross @ self._weights, covariance

    def left_out(self) -> LeftOut:
        """The samples, each predicted from those of the other folds (Rasmussen & Williams, 5.10-5.12, by blocks)."""
        num = len(self._targets)
        mean, variance = np.zeros(num), np.zeros(num)
        for fold in folds(num):
            inverse = np.linalg.inv(self._precision[np.ix_(fold, fold)])
            mean[fold] = self._targets[fold] - inverse @ self._weights[fold]
            variance[fold] = np.diag(inverse)
        return LeftOut(mean, variance, self._doubt)


class Trees:
    """Ensembles of trees from scikit-learn, on choices as numbers and counts of operators."""

    def __init__(self, genes: Sequence[Gene], family: Family, encoding: FeatureEncoding) -> None:
        self._features = GenotypeFeatures(genes, encoding)
        self._family = family
        self._spread = 0.0

    def fit(self, genotypes: Genotypes, targets: Floats, error_variance: Floats) -> None:
        """Learn from samples."""
        self._genotypes, self._targets = genotypes, targets
        self._sample_weights = 1.0 / (0.1 + error_variance)
        self._model = self._fitted(np.arange(len(targets)))
        self._left_out: LeftOut | None = None

    def mean(self, genotypes: Genotypes) -> Floats:
        """The mean alone."""
        return np.asarray(self._model.predict(self._columns(genotypes)))

    def predict(self, genotypes: Genotypes) -> tuple[Floats, Floats]:
        """Mean, and the variance of left-out residuals."""
        mean = self.mean(genotypes)
        return mean, np.full(len(mean), self._spread or float(self.left_out().variance[0]))

    def joint(self, genotypes: Genotypes) -> tuple[Floats, Floats]:
        """Mean, and a covariance that falls with the share of differing genes."""
        mean, variance = self.predict(genotypes)
        differing = np.mean(genotypes[:, None, :] != genotypes[None, :, :], axis=2)
        return mean, float(variance[0]) * np.exp(-differing / TREE_LENGTH)

    def assume_variance(self, variance: float) -> None:
        """Take the variance of left-out residuals as known, which saves fitting the folds."""
        self._spread = variance

    def left_out(self) -> LeftOut:
        """The samples, each predicted from those of the other folds."""
        if self._left_out is None:
            every = np.arange(len(self._targets))
            if self._family is Family.RANDOM_TREES:
                # Every tree has left out a third of the samples already.
                mean = np.where(np.isfinite(self._model.oob_prediction_), self._model.oob_prediction_, 0.0)
            else:
                mean = np.zeros(len(self._targets))
                for fold in folds(len(self._targets), NUM_BOOSTING_FOLDS):
                    model = self._fitted(np.setdiff1d(every, fold))
                    mean[fold] = model.predict(self._columns(self._genotypes[fold]))
            variance = np.full(len(mean), float(np.mean((mean - self._targets) ** 2)))
            self._left_out = LeftOut(mean, variance, np.zeros(len(mean)))
        return self._left_out

    def _fitted(self, rows: NDArray[np.int64]) -> Any:
        # Imported where it is used: it takes a second, and only searches with predictors need it.
        from sklearn import config_context
        from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor

        if self._family is Family.BOOSTED_TREES:
            model = GradientBoostingRegressor(
                n_estimators=NUM_BOOSTED_TREES,
                max_depth=4,
                learning_rate=0.15,
                subsample=0.7,
                max_features=0.5,
                random_state=0,
            )
        else:
            model = ExtraTreesRegressor(
                NUM_RANDOM_TREES, max_features=0.6, bootstrap=True, oob_score=True, random_state=0
            )
        columns, weights = self._columns(self._genotypes[rows]), self._sample_weights[rows]
        with config_context(assume_finite=True, skip_parameter_validation=True):
            return model.fit(columns, self._targets[rows], sample_weight=weights)

    def _columns(self, genotypes: Genotypes) -> NDArray[np.float32]:
        return tree_columns(self._features, genotypes)

    def arrays(self) -> TreeArrays:
        """What its mean needs, as plain arrays."""
        boosted = self._family is Family.BOOSTED_TREES
        estimators = self._model.estimators_[:, 0] if boosted else self._model.estimators_
        trees = [one.tree_ for one in estimators]
        sizes = [tree.node_count for tree in trees]
        roots = np.cumsum([0, *sizes[:-1]])
        nodes = [np.arange(size) for size in sizes]

        def places(children: str) -> NDArray[np.int64]:
            found = zip((getattr(tree, children) for tree in trees), nodes, roots, strict=True)
            return np.concatenate([np.where(to < 0, own, to) + root for to, own, root in found])

        return TreeArrays(
            left=places("children_left"),
            right=places("children_right"),
            column=np.concatenate([np.maximum(tree.feature, 0) for tree in trees]).astype(np.int64),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            value=np.concatenate([tree.value[:, 0, 0] for tree in trees]),
            roots=roots,
            scale=float(self._model.learning_rate) if boosted else 1.0 / len(trees),
            offset=float(self._model.init_.constant_[0, 0]) if boosted else 0.0,
        )


def folds(num: int, num_folds: int = NUM_FOLDS) -> list[NDArray[np.int64]]:
    """Split indices into interleaved parts; samples that were asked together are spread over them."""
    return [np.arange(first, num, num_folds) for first in range(min(num_folds, num))]
