"""The command line's commands; __main__ is their door."""
