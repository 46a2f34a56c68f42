"""An app whose tasks have a stated size and a stated amount of work."""
