"""The peers, each a program of its own, set up as its documentation recommends."""

RQ_QUEUE = "stock"
CELERY_TASK = "classify"
BATCH = 16
"""For peers that make batches: about half a second of eager forward pass on two cores, as ours."""
