"""Private services for tests and for a laptop: real servers on loopback, each ended by its own pid.

    python -m scripts.services up [NAME ...]      start them and print where they answer
    python -m scripts.services down               stop what `up` started
    python -m scripts.services install [NAME ...] install the Debian packages they come from (as root), fetch the rest

A service is one module here: what it needs, how it starts, and when it is ready.
"""
