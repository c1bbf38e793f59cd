"""The code that trains trials in one process. It does not use Ray; ``tunekit.runner`` runs it in Ray's processes.

An ``Attempt`` trains one trial, from its newest checkpoint or from the start, until the trial ends. A ``PackTrainer``
trains several attempts at once; trials that train together as one model are a *pack*. A ``DeviceHost`` serves one
device in a process of its own: it takes requests for epochs from many clients and passes the trials to its pack
trainer. An attempt and a device host return a ``TrialReport`` after each epoch.
"""
