"""Watching a run: while it is searched, from inside; and at any time, from its record alone.

::

    view.py          how a search stands at one moment, and what a watcher is
    session.py       who watches a session, and the events of its log
    log.py           DIR/logs/001.jsonl, one file for each session
    ray_metrics.py   the watcher that sets Ray's metrics
    scalars.py       the watcher that writes scalars for TensorBoard
    event_file.py    the format of these files
    following.py     reads of a record what is new
    ending.py        whether a run has ended, as far as its record says
    watch.py         `evo-nas status --watch`
    screen.py        a block of text that is drawn in place

None of it decides anything of a search, and nothing that is written here is ever read back.
"""
