"""The shipped strategies, one method a file. Ask `simfl.strategy.STRATEGIES` for them by name."""
