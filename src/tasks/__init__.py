"""What is learned: loss, metrics and test files."""
