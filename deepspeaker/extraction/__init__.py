"""Stages 2 and 5: samples -> features in archives -> embeddings."""
