"""One file a set, or kind of set."""
