"""The imports that a process of Ray makes in advance where it is to train trials. Ray imports this module by name."""

from tunekit.worker.libraries import load_libraries, without_collection

with without_collection():
    import tunekit.runner.trainables  # noqa: F401
load_libraries()
