"""What a sweep has recorded: its folder of files, read and written. Nothing here trains, plans or needs torch and Ray.

``result_store``    reads and writes the folder of one sweep; all other packages go through its class ``ResultStore``.
``records``         reads one trial's files strictly and raises DamagedRecord where one is not what it should be.
``requests``        turns the requests of sweep.json into the trials that were asked for, with a short name for each
cell. ``search_records``  is what search.json holds: the studies of a search, their trials and what was confirmed.
``frames``          turns all trials of a store into two DataFrames, and keeps these in the cache. ``progress``
tells how far each trial of a sweep is, while a driver may still write it. ``eta``             estimates how long the
trials that are left will take.

The words
    *Trial*: one training run, given by a TrialSpec. It has a folder of its own below ``trials/``.
    *Cell*: the trials that differ in nothing but the seed. Only they may be averaged.
    *Sweep*: all trials below one folder, of a grid or of a search.
    *Request*: one command's list of cells and seeds, appended to sweep.json, so that a sweep may grow.
    *Search*: a sweep whose configurations Optuna suggests; it has one *study* for each model, dataset and method.
    *Fingerprint*: the versions of the model, data and code that a trial's numbers follow from.
    *Stale*: a stored trial of the right spec whose fingerprint is another one. It is kept and never mixed with others.
    *Claimed folder*: the folder ``<name>-<trial_id>`` that a spec has for the present fingerprint. A stale trial in its
    place is renamed to ``<name>-<trial_id>.<fingerprint>`` first.
    *Cache*: a copy of what was read, which makes the next reading fast and can be deleted at any time.
"""
