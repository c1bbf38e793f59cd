"""Trained models as folders that transformers, peft or adapters load, and what can be done with stored trials again.

``which_trial``  chooses the trial to export: the cell, the seed that is best on validation, the epoch.
``export``       writes the model of the chosen trial and compares its predictions with the trial's records.
``formats``      has the three file formats: a whole model, an update of peft, an adapter of adapters.
``card``         writes the model card, README.md.
``loading``      loads an exported model from its folder, safely.
``predict``      labels the rows of a file with an exported model.
``verify``       trains a random part of a sweep's trials again and compares them with their records.
"""
