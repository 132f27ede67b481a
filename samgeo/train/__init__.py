"""Training: made-up scenes, labelled windows, simulated clicks, losses, one readable loop, and figures."""
