"""WHEN: the virtual clock of a run, and everything that it times.

SimPy carries the time: `events.Clock` is its environment, `events.Alarm` one of its events, and its
queue holds what is to come. A task is no SimPy process, because a generator cannot be saved in
mid-phase and costs three events where one is enough; its events name a handler and carry a value.
"""
