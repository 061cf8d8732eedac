"""Training of any backbone: ``metaembed train`` and ``metaembed mine``.

::

    config.py      a run as a TOML file; every key is also a flag
    examples.py    a query, the page that answers it, pages that look as if they did
    data.py        JSON lines and folders in BEIR layout -> training sets
    mixture.py     which rows of which set make up the batch of a step
    collate.py     steps -> batches of features
    mmr.py         the loss: InfoNCE at every budget of a nested family
    collapse.py    are the vectors of one input different?
    sharing.py     what several devices share in a step
    loss.py        the loss of a batch, at once or by gradient caching
    weights.py     what of a model is trained: all of it, or adapters and Meta Tokens
    starting.py    what a run starts from, all of it checked
    run_folder.py  the folder of a run: what it was asked, how far it is
    reports.py     what is seen of a run, and the best weights kept
    card.py        the model card of the result
    fit.py         train(): the run from its configuration to a finished checkpoint
    mining.py      mine(): hard negatives

Nothing heavy is imported here; each module imports what it needs.
"""
