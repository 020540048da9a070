"""Compute the metrics of classification, multi-label classification and detection."""
