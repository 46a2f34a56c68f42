"""Time, threads and random numbers of an app: virtual for it, real for the libraries it uses."""
