"""How far predicted probabilities can be trusted: likelihood, Brier score, calibration error, temperature.

Shapes: S seeds, N items, C classes. ``logits`` are (S, N, C) or (N, C), ``gold`` labels (N,) in [0, C).
"""

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


def calibration_error(log_probs: FloatArray, gold: IntArray, weights: FloatArray | None = None) -> float:
    """Return the debiased calibration error of the predicted label's probability, in [0, 1], for one run.

    Items are sorted by the probability of their predicted label into bins of equal numbers, at most ``BINS`` and at
    least ``MIN_PER_BIN`` items each. In a bin the squared gap between mean probability and accuracy is taken, less its
    own sampling variance acc (1 - acc) / (n - 1); the error is the root of the mean over bins, and 0 where that is
    negative (Kumar, Liang and Ma 2019, "Verified uncertainty calibration", NeurIPS 32, section 5). Without the
    correction a perfect model of few items looks miscalibrated.

    ``log_probs`` is (N, C). ``weights`` (N,), integers or not, count items as a bootstrap draws them. Raises ValueError
    below two bins' worth of items.
    """
    count = len(gold)
    bins = min(BINS, count // MIN_PER_BIN)
    if bins < 2:
        raise ValueError(f"a calibration error takes at least {2 * MIN_PER_BIN} items, not {count}")
    confidence = np.exp(log_probs.max(axis=-1))
    right = (log_probs.argmax(axis=-1) == gold).astype(float)
    order = np.argsort(confidence, kind="stable")
    of_item = np.empty(count, dtype=int)
    of_item[order] = np.arange(count) * bins // count
    shares = np.ones(count) if weights is None else weights

    def summed(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(of_item, shares * values, minlength=bins), dtype=float)

    sizes = summed(np.ones(count))
    kept = sizes > 1
    sizes, hits, believed = sizes[kept], summed(right)[kept], summed(confidence)[kept]
    accuracy = hits / sizes
    squares = (believed / sizes - accuracy) ** 2 - accuracy * (1 - accuracy) / (sizes - 1)
    return float(np.sqrt(max(0.0, np.average(squares, weights=sizes))))


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


def error_overlap(wrong_a: FloatArray, wrong_b: FloatArray, weights: FloatArray | None = None) -> float | None:
    """Return Cohen's kappa of two runs' errors, each (N,) of 0 and 1, in [-1, 1].

    1 says that both err on the same items, 0 that they overlap as two independent runs of the same error rates would
    (Geirhos et al. 2020, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by measuring error
    consistency", NeurIPS 33). None where one of them errs on no item or on all. ``weights`` (N,) count items.
    """
    shares = np.ones(len(wrong_a)) if weights is None else weights
    total = float(shares.sum())
    a, b = float(shares @ wrong_a) / total, float(shares @ wrong_b) / total
    same = float(shares @ (wrong_a == wrong_b)) / total
    expected = a * b + (1 - a) * (1 - b)
    if not 0 < a < 1 or not 0 < b < 1:
        return None
    return (same - expected) / (1 - expected)
