"""Long preparations of raw files, in stages of jobs that survive a kill.

    prepare     raw files -> a cache in a folder of the user's choice, with a report (statistics)
    joined      the engine for a fact file joined with a dimension file: describe, read, divide
    plan        its last stages: fit the columns (vocabulary), write the arrays (write)
    read        ranges of raw files (sources) -> joined chunks (chunks)
    jobs        stages on all cores, each job done once

Each data set has a folder of its own for what is special to it.
"""
