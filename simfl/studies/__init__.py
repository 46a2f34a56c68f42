"""Many runs: strategies x seeds x sweeps, played here or on a cluster."""
