"""What trains trials in one process, without Ray.

An ``Attempt`` trains one trial, from its newest checkpoint or from the start, until the trial ends. A ``PackTrainer``
trains several attempts at once. A ``DeviceHost`` is the process of one device: it takes requests for epochs from many
clients and passes them to its pack trainer. A ``TrialReport`` is what any of them returns after an epoch.
"""
