"""The comparison: is the cell that a search found better than what everybody uses already?

The metric a search found a cell with is too good: it is the best of many draws of luck. So the best
cells of the run, the published baselines and the best cell of a random search under the same budget
are trained anew, at equal parameters, with fresh seeds that are the same for every row.

A comparison has up to three stages, each a record of its own that is gone on with after a kill::

    RUN/random/             a random search under the run's budget             control.py
    RUN/tuning/001/         each cell with each learning rate of one grid      tuning.py
    RUN/comparisons/001/    each cell at its best rate with every seed         running.py

The end of a search does the last one alone. `terms` says what is compared and how, `entrants` who
takes part at which size, `judging` what may be concluded, `reading` and `output` show it;
`recorded` is how the entrants are read from a header.

Everything that the verdict rests on is chosen before the first training of the last stage, and
stands in its header: which cell of the run is judged, and against which baseline (`tuning`).
"""
