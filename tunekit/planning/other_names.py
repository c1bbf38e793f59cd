"""The names that settings of transformers' Trainer, peft, Ray Tune and Optuna have here."""

from collections.abc import Iterable

from tunekit.parsing import nearest

NAMES_HERE: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "lr_scheduler": ("lr_schedule",),
    "lr_scheduler_type": ("lr_schedule",),
    "num_train_epochs": ("epochs",),
    "num_epochs": ("epochs",),
    "max_epochs": ("epochs",),
    "per_device_train_batch_size": ("batch_size",),
    "train_batch_size": ("batch_size",),
    "max_seq_length": ("max_length",),
    "max_seq_len": ("max_length",),
    "max_train_samples": ("train_limit",),
    "model_name_or_path": ("models", "model"),
    "model_name": ("models", "model"),
    "model": ("models", "model"),
    "dataset_name": ("datasets", "dataset"),
    "dataset": ("datasets", "dataset"),
    "train_file": ("datasets",),
    "data": ("datasets",),
    "peft_type": ("methods", "method"),
    "lora_r": ("method_params",),
    "lora_alpha": ("method_params",),
    "lora_dropout": ("method_params",),
    "target_modules": ("method_params",),
    "random_state": ("seeds", "seed"),
    "early_stopping_patience": ("patience",),
    "label_smoothing_factor": ("label_smoothing",),
    "max_norm": ("max_grad_norm",),
    "fp16": ("precision",),
    "bf16": ("precision",),
    "tf32": ("precision",),
    "output_dir": ("out", "to", "storage"),
    "output": ("out", "to", "storage"),
    "storage_path": ("storage",),
    "run_name": ("sweep",),
    "experiment_name": ("sweep",),
    "name": ("sweep",),
    "num_samples": ("trials",),
    "n_trials": ("trials",),
    "max_concurrent_trials": ("max_concurrent",),
    "n_jobs": ("max_concurrent",),
    "num_workers": ("max_concurrent",),
    "cpus": ("cpus_per_trial",),
    "num_cpus": ("cpus_per_trial",),
    "report_to": ("track",),
    "search_alg": ("sampler",),
    "metric": ("objective",),
}
"""The names that a setting may have here, by its name in other programs. The first one that a command has counts."""
WITHOUT_NAME = {
    "num_samples": "a grid trains each combination once; tunekit search --trials sets the trials of a search",
    "n_trials": "a grid trains each combination once; tunekit search --trials sets the trials of a search",
    **dict.fromkeys(
        ("gpus", "num_gpus", "n_gpu", "device", "gpus_per_trial"),
        "every GPU of the machine is used, and CUDA_VISIBLE_DEVICES names fewer; --trials-per-device shares them",
    ),
    **dict.fromkeys(
        ("resume", "resume_from_checkpoint"), "the same command as before goes on where the sweep was broken off"
    ),
}
"""Advice on settings of other programs that have no name here."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a message on a wrong ``name`` of a flag or key: which of ``known`` is meant, or what to do.

    The text is empty where no name is near.
    """
    spelled, shown = _spelled(name), {_spelled(one): one for one in known}
    here = next((one for one in NAMES_HERE.get(spelled, ()) if one in shown), None)
    if here is None and "epochs" in shown and spelled in WITHOUT_NAME:
        return f": {WITHOUT_NAME[spelled]}"
    here = here or nearest(spelled, shown)
    return f", did you mean {shown[here]!r}?" if here else ""


def _spelled(name: str) -> str:
    """Return the name of a flag as that of a field: ``batch_size`` for ``--batch-size``."""
    return name.lstrip("-").replace("-", "_")
