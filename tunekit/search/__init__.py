"""The search: Optuna looks for a good configuration of each method, which is then confirmed on fresh seeds.

``request``         checks the arguments of a search and returns a plan for each study. It runs nothing.
``space``           has the ranges that a study draws from, of the method or of a space file, and makes specs of them.
``space_fit``       checks the values of a space against the data and the model.
``study_plan``      is the plan of one study, with all that must stay the same while the study grows.
``study``           is one Optuna study: it suggests configurations and is told how they ended, over any interruption.
``outcome``         says how a configuration ended, from the records of its search seeds.
``choosing``        selects the best configuration and the cheapest one within one standard error; the analysis uses it.
``confirm``         makes the trials on fresh seeds, and best.yaml for the grid.
``optuna_storage``  opens the storage of the studies: a journal file in the sweep's folder, or a database.
``object_journal``  is the journal in an object store.
``stopping``        has the settings of early stopping, and estimates the epochs that a study trains under it.

The words
    *Study*: the search for one model, one dataset and one method.
    *Configuration*: the values of all parameters that are searched. Each is trained on every search seed.
    *Suggestion*: a configuration that the study has suggested and whose outcome it has not been told yet.
    *Candidate*, *selection*: the configurations that completed, and the ones among them that are selected.
    *Confirmed configuration*: a selected configuration that is trained again on fresh seeds, with test scored.

Only this package imports Optuna, and it does so when a search is planned.
"""
