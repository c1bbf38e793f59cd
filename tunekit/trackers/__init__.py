"""Trackers show the trials of a sweep in TensorBoard, MLflow or Weights & Biases, if ``--track`` names them.

``available``    checks the names that ``--track`` is given and makes the trackers.
``feed``         sends the records in the store to each tracker, in a thread of its own.
``tracker``      says what a tracker is, and how a stored trial is named and described in one.
``tensorboard``, ``mlflow`` and ``wandb`` are the trackers.

Everything that a tracker shows comes from the store, so a tracker that fails can be filled again by the same command.
"""
