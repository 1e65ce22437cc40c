"""The command line's commands; running.py chooses one, __main__ is their door."""
