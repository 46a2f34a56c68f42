"""The shipped data sets, one story a file. Ask `simfl.learn.data.DATASETS` for them by name."""
