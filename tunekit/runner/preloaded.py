"""What a process of Ray imports in advance where it is to train trials; Ray imports this module by its name."""

from tunekit.worker.libraries import load_libraries, without_collection

load_libraries()
with without_collection():
    import tunekit.runner.trainables  # noqa: F401
