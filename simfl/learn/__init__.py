"""LEARNS: data, partitions, models, local training and evaluation. The home of torch."""
