"""The shipped data sets, one story a file. `simfl.learn.datasets.base.DATASETS` names them."""
