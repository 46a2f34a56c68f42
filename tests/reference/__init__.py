"""The naive engine: what a run should be, computed anew at every instant from what holds then.

It shares options, the fleet's columns, random streams, and the sizes of work and messages with
simfl, and imports nothing of the clock. `world` says what holds at an instant, `filling` how
transfers share links, `trip` where a task is, `server` what a strategy may do, `engine` what
happens next.
"""
