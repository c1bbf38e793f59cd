"""Measures of how far predicted probabilities can be trusted: likelihood, Brier score, calibration error, temperature.

Shapes: S seeds, N items, C classes. ``logits`` are (S, N, C) or (N, C), ``gold`` labels (N,) in [0, C).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

BINS = 15
MIN_PER_BIN = 10
TEMPERATURES = (0.01, 100.0)
"""The bounds between which a temperature is sought."""


def log_probabilities(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """Return the natural logarithms of the softmax of ``logits / temperature``, of the same shape (..., C)."""
    from scipy.special import log_softmax

    return np.asarray(log_softmax(logits / temperature, axis=-1))


def negative_log_likelihood(log_probs: FloatArray, gold: IntArray) -> FloatArray:
    """Return the negative log likelihood of each item's gold label, in nats: (..., N) for ``log_probs`` (..., N, C)."""
    return np.asarray(-log_probs[..., np.arange(len(gold)), gold])


def brier(log_probs: FloatArray, gold: IntArray) -> FloatArray:
    """Return the Brier score of each item, in [0, 2]: (..., N) for ``log_probs`` (..., N, C).

    It is the squared distance between the probabilities and the gold label's indicator, summed over classes (Brier
    1950, Monthly Weather Review 78).
    """
    indicator = np.eye(log_probs.shape[-1])[gold]
    return np.asarray(((np.exp(log_probs) - indicator) ** 2).sum(axis=-1))


@dataclass(frozen=True)
class BinnedRun:
    """One run's items in bins of equal numbers, sorted by the probability of their predicted label."""

    of_item: IntArray
    """The bin (N,) of each item."""
    confidence: FloatArray
    """The probability (N,) of each item's predicted label."""
    right: FloatArray
    """1 for each item (N,) whose gold label is the predicted one, else 0."""

    @classmethod
    def of(cls, log_probs: FloatArray, gold: IntArray) -> "BinnedRun":
        """Return the bins of ``log_probs`` (N, C): at most ``BINS``, of at least ``MIN_PER_BIN`` items each.

        Raises ValueError where there are items for fewer than two bins.
        """
        count = len(gold)
        bins = min(BINS, count // MIN_PER_BIN)
        if bins < 2:
            raise ValueError(f"a calibration error takes at least {2 * MIN_PER_BIN} items, not {count}")
        confidence = np.exp(log_probs.max(axis=-1))
        of_item = np.empty(count, dtype=int)
        of_item[np.argsort(confidence, kind="stable")] = np.arange(count) * bins // count
        return cls(of_item, confidence, (log_probs.argmax(axis=-1) == gold).astype(float))


def calibration_error(run: BinnedRun, weights: FloatArray) -> FloatArray:
    """Return the debiased calibration error (D,) of the predicted label's probability, in [0, 1], for one run.

    Each bin gives the squared gap between mean probability and accuracy, less the gap's own sampling variance
    acc (1 - acc) / (n - 1); the error is the root of the mean over bins, and 0 where that is negative (Kumar, Liang and
    Ma 2019, "Verified uncertainty calibration", NeurIPS 32, section 5). Without the correction a perfect model looks
    miscalibrated on few items. ``weights`` (D, N) count items in each of D draws: ones, or as a bootstrap draws them.
    """
    in_bin = np.eye(run.of_item.max() + 1)[run.of_item]  # (N, bins)
    sizes = weights @ in_bin  # (D, bins)
    sizes[sizes <= 1] = np.nan  # a bin of one item has no variance
    accuracy = weights @ (in_bin * run.right[:, None]) / sizes
    confidence = weights @ (in_bin * run.confidence[:, None]) / sizes
    squares = (confidence - accuracy) ** 2 - accuracy * (1 - accuracy) / (sizes - 1)
    return np.asarray(np.sqrt(np.maximum(0.0, np.nansum(squares * sizes, axis=1) / np.nansum(sizes, axis=1))))


def fitted_temperature(logits: FloatArray, gold: IntArray) -> float:
    """Return the temperature, above 0, that gives the gold labels of ``logits`` (N, C) the highest likelihood.

    Guo et al. 2017, "On calibration of modern neural networks" (ICML), section 4.2. It is fitted on validation and used
    on test. The search stays within ``TEMPERATURES``: without a single error the likelihood has no maximum.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        log_probs = log_probabilities(logits, float(np.exp(log_temperature)))
        return float(negative_log_likelihood(log_probs, gold).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def ensemble(log_probs: FloatArray) -> FloatArray:
    """Return the log probabilities (N, C) of the mean of the probabilities of S seeds, (S, N, C)."""
    from scipy.special import logsumexp

    return np.asarray(logsumexp(log_probs, axis=0) - np.log(len(log_probs)))


def error_overlap(wrong_a: FloatArray, wrong_b: FloatArray, weights: FloatArray) -> FloatArray:
    """Return Cohen's kappa (D, A, B) of the errors of each run of ``wrong_a`` (A, N) with each of ``wrong_b`` (B, N).

    1 says that both err on the same items, 0 that they overlap as two independent runs of the same error rates would
    (Geirhos et al. 2020, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by measuring error
    consistency", NeurIPS 33). The arrays are 1 where the run errs, else 0; ``weights`` (D, N) count items in each of D
    draws. A pair of which one run errs on no item, or on all, has no kappa: NaN.
    """
    total = weights.sum(axis=1)[:, None]
    a, b = (weights @ wrong_a.T / total)[:, :, None], (weights @ wrong_b.T / total)[:, None]
    pairs = (wrong_a[:, None] * wrong_b).reshape(-1, wrong_a.shape[1])  # (A * B, N)
    both = (weights @ pairs.T / total).reshape(len(weights), len(wrong_a), len(wrong_b))
    same = 1 - a - b + 2 * both
    expected = a * b + (1 - a) * (1 - b)
    defined = expected < 1 - 1e-12
    return np.asarray(np.divide(same - expected, 1 - expected, where=defined, out=np.full(same.shape, np.nan)))
