"""The networks: ``create_model("resnet56", num_classes=10)`` builds one by name."""

from .build import create_model

__all__ = ["create_model"]
