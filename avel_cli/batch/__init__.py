"""Many files: what happened to each, and who works on what.

    journal.py   the outcome of each input, in SQLite beside the results; claims of processes that share a folder
    run.py       the inputs that fall to this process, one after the other, until none is left
    summary.py   the outcomes of a run as a table

Nothing here imports torch.
"""
