"""Fresh updates out of stale ones, by inverting local training (Wang and Gao, AAAI 2025)."""
