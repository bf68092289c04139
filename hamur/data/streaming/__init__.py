"""Long preparations: stages of jobs that survive a kill, and the common end of all of them.

    prepare     raw files -> a cache in a folder of the user's choice
    pipeline    stages on all cores, resumable        jobs      one job, done once
    sources     large files as ranges of lines
    parts       finished parts of a raw file          streamed  vocabularies block by block
    product     what the stages hand over             statistics  the report

What a data set's stages are lives in its own folder.
"""
