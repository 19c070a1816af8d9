"""The classes of work, in the words of Golden et al. (figure 7): one list for traces, workloads and figures."""

from __future__ import annotations

ATTENTION = "attention"
CONVOLUTION = "convolution"
LINEAR = "linear"
GROUP_NORM = "group norm"
BATCH_NORM = "batch norm"
LAYER_NORM = "layer norm"
ELEMENTWISE = "elementwise"
SOFTMAX = "softmax"
EMBEDDING = "embedding"
COPY = "copy"
COMMUNICATION = "communication"
OTHER = "other"
CLASSES = (
    ATTENTION, CONVOLUTION, LINEAR, GROUP_NORM, BATCH_NORM, LAYER_NORM, ELEMENTWISE, SOFTMAX, EMBEDDING, COPY,
    COMMUNICATION, OTHER,
)  # fmt: skip
"""`linear` holds every matrix product outside attention; `layer norm` holds RMS norms too."""
