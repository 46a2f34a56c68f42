"""Handwritten digits and softmax regression."""

import numpy as np
from sklearn.datasets import load_digits

DIGITS = load_digits()
X = (DIGITS.data / 16.0).astype(np.float32)
Y = DIGITS.target
TEST = slice(0, 360)


def local_data(partition, partitions):
    """Every so many-th example after the test set."""
    mine = slice(TEST.stop + partition, None, partitions)
    return X[mine], Y[mine]


def initial():
    return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]


def probabilities(model, x):
    scores = x @ model[0] + model[1]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def train(model, x, y, epochs, lr, batch_size=20):
    """Mini-batch SGD, the batches drawn from numpy's global generator."""
    weights, bias = (array.copy() for array in model)
    for _ in range(epochs):
        order = np.random.permutation(len(x))  # noqa: NPY002
        for first in range(0, len(x), batch_size):
            batch = order[first : first + batch_size]
            error = probabilities([weights, bias], x[batch])
            error[np.arange(len(batch)), y[batch]] -= 1.0
            weights -= lr * x[batch].T @ error / len(batch)
            bias -= lr * error.mean(axis=0)
    return [weights, bias]


def evaluate(model, x, y):
    """(loss, accuracy)"""
    p = probabilities(model, x)
    loss = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-9)).mean()
    return float(loss), float((p.argmax(axis=1) == y).mean())
