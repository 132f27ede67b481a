"""Segment Anything models in PyTorch; nothing in here knows what a map is.

`contract.py` says what a model can do, `sam.py` puts the parts of a network together, `predict.py` fulfils the contract
with it, and `automatic.py` needs no prompts. Importing this package does not import torch.
"""
