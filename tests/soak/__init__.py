"""Hours of bad luck in minutes: kills, faults, many at once, and hostile input.

``python -m tests.soak`` (``make soak``) runs all kinds, prints a table and writes JSON. A case is
drawn from ``--seed``, its kind and its number alone, and its name says all three, so that it can be
run again by itself: ``python -m tests.soak --kind kills --seed 7 --case 12``.

::

    __main__     arguments, the table, results/soak.json
    tally        what is counted of a kind
    children     processes that are killed or take too long
    servers      servers of Chroma, which may be killed and started again
    state        pages with versions, and whether an index holds just these
    kills        SIGKILL at random points of everything that writes
    faults       disks, folders, clocks, memory and servers that fail
    crowds       one writer and eight readers, two writers, threads, asyncio; nothing leaks
    fuzz         hostile input: strategies of hypothesis, and files with changed bytes
"""
