"""The posterior mean of a Gaussian process over many genotypes, without its variance, in single precision.

What is linear in the choices needs no covariances: it is one number per gene and choice. Of the others only the share
of agreeing genes is computed, from a table of what each choice adds to it for every sample.
"""

from __future__ import annotations

import numpy as np

from nas_engine.cost.prediction.choice_kernel import ChoiceKernel, Covariance
from nas_engine.cost.prediction.encodings import Features, Floats, GenotypeFeatures
from nas_engine.cost.prediction.mean_arrays import ProcessArrays


def posterior_mean(
    features: GenotypeFeatures, kernel: ChoiceKernel, hyper: Covariance, known: Features, weights: Floats
) -> ProcessArrays:
    """Bring a fitted process into arrays.

    Args:
        features: of genotypes.
        kernel: of the process.
        hyper: its hyper-parameters.
        known: features of the samples.
        weights: of the samples in the mean.
    """
    by_choice = features.by_choice()
    to_agreement = by_choice.choices * kernel.column_weights(hyper)
    linear = (
        hyper.linear * (to_agreement @ (known.choices.T @ weights))
        + hyper.counts * (by_choice.counts @ (known.counts.T @ weights))
        + hyper.smooth * (by_choice.smooth @ (known.smooth.T @ weights))
        + hyper.layers * (by_choice.layers @ (known.layers.T @ weights))
        + by_choice.totals @ (np.asarray(hyper.totals) * (known.totals.T @ weights))
    )
    parts = (hyper.pairs, hyper.interaction, hyper.length, hyper.coarse, hyper.coarse_length)
    return ProcessArrays(
        linear=linear.astype(np.float32),
        agreement=(to_agreement @ known.choices.T).astype(np.float32),
        to_coarse=by_choice.coarse.astype(np.float32),
        coarse=known.coarse.astype(np.float32),
        weights=weights.astype(np.float32),
        parts=np.asarray(parts if kernel.interactions else (0.0,) * len(parts)),
    )
