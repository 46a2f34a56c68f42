"""Models: shipped architectures, their structure, flat parameters and FLOPs."""
