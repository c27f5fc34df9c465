"""PE-AV: sound, picture and text in one space, each window of two seconds a vector (Meta 2025, Apache-2.0)."""
