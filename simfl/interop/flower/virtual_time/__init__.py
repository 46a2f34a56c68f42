"""Time, threads and random numbers of the app alone: virtual, while libraries keep the real ones."""
