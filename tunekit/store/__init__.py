"""The records of a sweep: a folder of files, which this package reads and writes. It needs neither torch nor Ray.

- ``result_store`` reads and writes the folder of one sweep. Other packages use its class ``ResultStore``.
- ``records`` reads the files of one trial, and raises DamagedRecord where a file is damaged.
- ``requests`` turns the requests of sweep.json into the trials that were asked for, and gives each cell a short name.
- ``search_records`` holds the classes of what is in search.json: the studies of a search, their trials and choices.
- ``frames`` turns all trials of a store into two DataFrames, and keeps these in the cache.
- ``existing`` refuses a folder that holds no sweep.
- ``progress`` tells how far each trial of a sweep is, even while a driver writes the sweep.
- ``eta`` estimates how long the trials that are left will take.

Words:

- A *trial* is one training run, given by a TrialSpec, or by an ImportedSpec where another program trained it. It has a
  folder of its own below ``trials/``. (A trial of a *study* is something else: see below.)
- A *cell* is the set of trials that differ in nothing but the seed. Only trials of one cell may be averaged.
- A *sweep* is all trials below one folder. They come from a grid or from a search.
- A *request* is the list of cells and seeds of one command. It is appended to sweep.json, so that a sweep may grow.
- A *search* is a sweep whose configurations Optuna suggests. It has one *study* for each model, dataset and method. A
  trial of a study, a ``SearchTrial``, is one configuration. It stands for one trial of the store for each search seed.
- A *fingerprint* is the versions of the model, data and code that a trial's numbers depend on.
- A stored trial is *stale* if its fingerprint differs from the one that its spec has now. It is kept, and is never
  mixed with other trials.
- The *claimed folder* of a spec is ``<name>-<trial_id>`` after a stale trial in it, if any, has been renamed to
  ``<name>-<trial_id>.<fingerprint>``.
- A *driver* is the process that runs a sweep, and a *start* is one start of a driver (``tunekit.storage.lease``).
- The *cache* is a copy of what was read. It makes the next reading fast and can be deleted at any time.
"""
