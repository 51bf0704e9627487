"""Is this library the published method? Checks it against golden vectors of the published code.

    python -m tests.parity DIRECTORY

reads every vector file (`.npz`) below DIRECTORY, gives its inputs to the library's own functions,
the very ones that the notebooks and the training use, and prints a line for every quantity. The
exit status is 0 when all hold, 1 when one differs, 2 when something could not be checked.
`tests/vectors/README.md` describes the files.
"""
