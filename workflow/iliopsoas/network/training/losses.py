"""What training minimises, and the overlap it reports. Keras 3 operations alone.

All take logits, not probabilities: a probability that is 0 or 1 in float32 has no
gradient left.
"""

import keras
from keras import ops

SMALL = 1e-6  # no division by zero where neither side has muscle


def _flat(tensor):
    tensor = ops.cast(tensor, "float32")
    return ops.reshape(tensor, (ops.shape(tensor)[0], -1))


def dice_loss(target, logit):
    """One minus the soft Dice coefficient of each sample.

    2 sum(p g) / (sum(p^2) + sum(g^2)), as the V-Net's (Milletari et al. 2016, equation 2),
    which the paper cites; p is the sigmoid of the logit.

    Parameters
    ----------
    target, logit : tensor (n, ...)

    Returns
    -------
    tensor (n,)
    """
    g, p = _flat(target), ops.sigmoid(_flat(logit))
    overlap = 2.0 * ops.sum(p * g, axis=1) + SMALL
    return 1.0 - overlap / (ops.sum(p * p, axis=1) + ops.sum(g * g, axis=1) + SMALL)


def dice_cross_entropy_loss(target, logit):
    """The Dice loss plus the mean binary cross-entropy of each sample."""
    g, x = _flat(target), _flat(logit)
    # log(1 + e^x) - g x, without overflow
    entropy = ops.maximum(x, 0.0) - g * x + ops.log1p(ops.exp(-ops.abs(x)))
    return dice_loss(target, logit) + ops.mean(entropy, axis=1)


def dice(target, logit):
    """Dice coefficient of each sample, cut at probability one half; 1 where both are empty."""
    g = ops.cast(_flat(target) >= 0.5, "float32")
    p = ops.cast(_flat(logit) >= 0.0, "float32")
    both = ops.sum(g, axis=1) + ops.sum(p, axis=1)
    return (2.0 * ops.sum(g * p, axis=1) + SMALL) / (both + SMALL)


LOSSES = {"dice": dice_loss, "dice+cross-entropy": dice_cross_entropy_loss}


def dice_metric() -> keras.metrics.Metric:
    """The mean of `dice` over an epoch."""
    return keras.metrics.MeanMetricWrapper(dice, name="dice")
