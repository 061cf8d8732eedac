"""The image path of the small checkpoint: a vision tower in front of a trained text model.

::

    layer.py      text with a box for every character; tokens with a box each
    shards.py     pages as pictures, tokens and boxes in files of at most 60 MiB
    pdf_words.py  a PDF page -> grey picture and characters with boxes
    drawing.py    words drawn on a canvas, their boxes kept
    generated.py  drawn pages: prose, tables, charts, glossaries, in many fonts
    prepare.py    the sources -> shards and a manifest
    tower.py      ModernVBertModel around a text model; pictures -> vectors
    start.py      the tower's first weights: neighbours attend, features come in low
    batches.py    which windows and pages a step sees, decoded ahead of time
    dense.py      cells of a picture -> the vectors of the tokens that lie there
    pages.py      a page's picture -> the vectors of the same page's text
    run.py        the loop: minutes, saving, exact resuming
    state.py      weights and moments in safetensors files of at most 15 MiB
    join.py       text model + weights -> a folder for MetaEmbedEncoder
    quality.py    tokens read right, pages found, beside chance

``python -m metaembed_rag.training.vision --help`` lists the commands; docs/train_mini.md says more.
"""
