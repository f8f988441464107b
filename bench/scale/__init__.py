"""The parts of bench/scale_model.py."""
