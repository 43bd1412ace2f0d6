"""Spectra of any format to a spectra store, in two stages.

::

    parsers/   input -> fragments -> rows     one file a format; nothing else knows formats
    plan       what an ingest will do: fragments, partitions, bytes, memory, time
    stage      fragment -> rows sorted by position (first stage)
    partition  rows -> partitions of the store (second stage)
    run        both stages, then the seal
"""
